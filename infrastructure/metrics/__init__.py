"""Metrics and probes of a worker, over HTTP on a port of its own."""

from .endpoint import Endpoint, serving_metrics

__all__ = ["Endpoint", "serving_metrics"]
