"""Metrics of what a trial costs, by name: for those who read them and need no torch."""

PARAMETERS = "cost/parameters"
PEAK_MEMORY = "cost/peak_memory_bytes"
DEVICE_MEMORY = "cost/device_memory_bytes"
LATENCY = "cost/latency_ms"
