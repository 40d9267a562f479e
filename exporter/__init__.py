"""smg-exporter: serves an SGLang gRPC worker's metrics from a process of its own."""

__version__ = "0.1.0"

PROGRAM = "smg-exporter"
"""What it is called on the command line and in the Server header."""
