"""Adapters of the ports, and the only place that wires them together."""
