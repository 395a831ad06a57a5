"""Workloads: what the task `latency` times."""
