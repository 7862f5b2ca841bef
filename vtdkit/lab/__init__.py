"""Experiments: workloads, scenarios and measurements; what the notebooks call."""
