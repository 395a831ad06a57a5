"""The throughput gate: two states of the code, measured side by side and compared."""
