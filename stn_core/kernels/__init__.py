"""The same arithmetic for each backend."""
