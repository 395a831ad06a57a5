"""The harness: studies of spatial transformers, from a YAML file to a report."""
