"""Metrics and probes of a worker or a server, over HTTP on a port of its own."""

from .endpoint import Endpoint, serving_metrics, serving_server_metrics

__all__ = ["Endpoint", "serving_metrics", "serving_server_metrics"]
