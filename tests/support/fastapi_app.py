"""A FastAPI app with metrics, as docs/other-apps.md has it; uvicorn runs it with the peers' Python."""

from fastapi import FastAPI
from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter("app_requests", "Requests.", ["path"])
BUSY = Gauge("app_busy", "Requests in progress.", multiprocess_mode="livesum")
SECONDS = Histogram("app_request_seconds", "Seconds that requests took.")

app = FastAPI()


@app.get("/")  # type: ignore[untyped-decorator]  # its package is the peers', not ours
def index() -> str:
    """Count a request."""
    with BUSY.track_inprogress(), SECONDS.time():
        REQUESTS.labels("/").inc()
        return "ok"
