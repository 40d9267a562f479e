"""smg-exporter: serves an SGLang gRPC worker's metrics from a process of its own."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("smg-exporter")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"
