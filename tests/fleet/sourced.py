"""What a source of targets has read."""

from exporter.fleet.sources import Source


def workers(source: Source) -> list[str]:
    """Return the addresses of its targets."""
    return [target.worker_addr for target in source.targets]
