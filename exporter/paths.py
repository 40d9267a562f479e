"""The paths of the endpoints, but for those that options set."""

INDEX = "/"
STATUS = "/status.json"
ENGINE = "/engine.json"
HEALTHY = ("/healthz", "/-/healthy")
READY = ("/readyz", "/-/ready")
PAGES = (INDEX, STATUS, ENGINE, *HEALTHY, *READY)
"""What every daemon serves beside its metrics."""

WORKER_METRICS = "/metrics"
"""The default of `--telemetry-path`."""
NODE_METRICS = "/metrics"
FLEET_METRICS = "/engine_metrics"
FLEET_OWN_METRICS = "/metrics"
SERVICE_DISCOVERY = "/sd"
