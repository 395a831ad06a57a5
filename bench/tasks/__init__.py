"""Tasks: what a trial does."""
