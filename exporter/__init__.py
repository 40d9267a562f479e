"""smg-exporter: serves an SGLang gRPC worker's metrics from a process of its own."""

__version__ = "0.1.0"
