"""smg-exporter: serves the metrics of an SGLang gRPC worker from a separate process."""

__version__ = "0.1.0"

PROGRAM = "smg-exporter"
"""The program's name on the command line and in the Server header."""
