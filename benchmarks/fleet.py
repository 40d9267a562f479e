"""The fleet beside SMG's own /engine_metrics, over the same workers in the same run.

    python -m benchmarks.fleet

SMG is the program `smg` on the PATH (PyPI: smg); without it, its row is left out. Workers answer immediately, and all
values change between two scrapes.
"""

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from benchmarks._fleet_workers import address
from benchmarks.report import markdown

ROOT = Path(__file__).parents[1]
ROUNDS = 15
UNREADABLE_TO_SMG = ("sglang:max_running_requests_under_SLO", "sglang:grammar_schema_count")
"""A name with a capital letter, and a histogram whose name ends in `_count`: either makes SMG drop the worker."""
START_TIMEOUT = 60.0
_MANY_TARGET = 0.5
"""Seconds."""
_DEADLINE = 5.0
"""The default time limit for a target, in seconds."""
_START = 0.2
"""Most seconds by which silent targets may delay the scrape of another."""
_EARLY, _LATE = 10, 500
"""Numbers of scrapes with new series at which memory is compared."""
_TIMES, _MORE = 4, 10 << 20
"""Limits for scrapes with new series: cost relative to one without, and growth of memory in bytes."""
_PATIENT = {"X-Prometheus-Scrape-Timeout-Seconds": "10"}


def main() -> None:
    """Measure, and print a table."""
    with tempfile.TemporaryDirectory() as folder:
        small, large = (_bodies(Path(folder), name) for name in ("sglang-tp1", "sglang-tp8"))
        rows = _beside_smg(large)
        rows += _many(small)
        rows += _hanging(small)
        rows += _new_series(large)
    print(markdown(("case", "figure", "target", "met"), rows))


def _row(case: str, figure: str, target: str = "", *, met: bool | None = None) -> tuple[str, ...]:
    return case, figure, target, "" if met is None else "yes" if met else "**no**"


def _beside_smg(bodies: Sequence[Path], number: int = 16) -> list[tuple[str, ...]]:
    total = number * bodies[0].stat().st_size
    title = f"{number} workers x {bodies[0].stat().st_size / 1e6:.1f} MB"
    rows = []
    with _workers(bodies) as port, _fleet(port, number) as fleet:
        before = fleet.memory("VmRSS")
        first, _ = fleet.scrape()
        seconds, size = fleet.scrape_often()
        peak = fleet.memory("VmHWM") - before
        compressed, _ = fleet.scrape_often({"Accept-Encoding": "gzip"})
        rows += [
            _row(f"fleet, {title}: first scrape", _milliseconds(first)),
            _row(f"fleet, {title}: all values new", f"{_milliseconds(seconds)}, {size / 1e6:.1f} MB"),
            _row(f"fleet, {title}: all values new, answer in gzip", _milliseconds(compressed)),
            _row(
                f"fleet, {title}: memory above idle, at most",
                f"{peak / total:.1f}x the bodies",
                "≤ 4x",
                met=peak <= 4 * total,
            ),
        ]
    if not shutil.which("smg"):
        return [*rows, _row("SMG /engine_metrics", "not measured: smg is not on the PATH")]
    readable = [_without_unreadable(body) for body in bodies]
    with _workers(readable) as port, _smg(port, number) as smg:
        smg.scrape()
        smg_seconds, smg_size = smg.scrape_often()
    faster = smg_seconds / seconds
    return [
        *rows,
        _row(f"SMG /engine_metrics, {title}", f"{_milliseconds(smg_seconds)}, {smg_size / 1e6:.1f} MB"),
        _row("fleet beside SMG", f"{faster:.0f}x faster", "≥ 20x", met=faster >= 20),
    ]


def _many(bodies: Sequence[Path], number: int = 64) -> list[tuple[str, ...]]:
    with _workers(bodies) as port, _fleet(port, number) as fleet:
        first, _ = fleet.scrape()
        seconds, size = fleet.scrape_often()
    title = f"fleet, {number} workers x {bodies[0].stat().st_size / 1e6:.2f} MB"
    return [
        _row(f"{title}: first scrape", _milliseconds(first), "≤ 500 ms", met=first <= _MANY_TARGET),
        _row(
            f"{title}: all values new",
            f"{_milliseconds(seconds)}, {size / 1e6:.1f} MB",
            "≤ 500 ms",
            met=seconds <= _MANY_TARGET,
        ),
    ]


def _hanging(bodies: Sequence[Path], number: int = 500, hang: int = 50) -> list[tuple[str, ...]]:
    healthy = number - hang
    with _workers(bodies) as port, _fleet(port, healthy) as fleet:
        alone = [fleet.scrape(_PATIENT)[0] for _ in range(2)]
    rows = []
    hanging = ",".join(address(worker) for worker in range(0, number, number // hang))
    with _workers(bodies, f"--hang={hanging}") as port, _fleet(port, number) as fleet:
        for title, without in zip(("first scrape", "second scrape"), alone, strict=True):
            seconds, _ = fleet.scrape(_PATIENT)
            up = len(re.findall(rb"(?m)^smg_exporter_target_up\{.*\} 1\.0$", fleet.last))
            allowed = _DEADLINE + without + _START
            rows.append(
                _row(
                    f"fleet, {number} workers of which {hang} hang: {title}",
                    f"{seconds:.1f} s, {up} complete",
                    f"≤ {allowed:.1f} s: the deadline, and what {healthy} alone take; {healthy} complete",
                    met=seconds <= allowed and up == healthy,
                )
            )
    return rows


def _new_series(bodies: Sequence[Path], number: int = 16) -> list[tuple[str, ...]]:
    with _workers(bodies, "--distinct") as port, _fleet(port, number) as fleet:
        first, size = fleet.scrape()
        usual = fleet.cpu(ROUNDS)
    with _workers(bodies, "--distinct", "--new-series") as port, _fleet(port, number) as fleet:
        fleet.cpu(_EARLY)
        early = fleet.least_memory()
        cost = fleet.cpu(_LATE - _EARLY - ROUNDS)
        more = fleet.least_memory() - early
    title = f"fleet, {number} distinct workers x {size / number / 1e6:.1f} MB"
    return [
        _row(f"{title}: first scrape", _milliseconds(first)),
        _row(f"{title}: all values new", f"{_milliseconds(usual)} of CPU time"),
        _row(
            f"{title}: a new series in each",
            f"{_milliseconds(cost)} of CPU time, {cost / usual:.1f}x",
            f"≤ {_TIMES}x",
            met=cost <= _TIMES * usual,
        ),
        _row(
            f"{title}: memory after {_LATE} scrapes with new series, against after {_EARLY}",
            f"{more / 2**20:+.1f} MiB",
            f"≤ {_MORE / 2**20:+.0f} MiB",
            met=more <= _MORE,
        ),
    ]


class _Scraped:
    """A program that serves /engine_metrics."""

    def __init__(self, port: int, pid: int) -> None:
        self.last = b""
        """The body of the last scrape."""
        self._port = port
        self._pid = pid

    def scrape(self, headers: dict[str, str] | None = None) -> tuple[float, int]:
        """Scrape; return the seconds taken and the size of the body."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        start = time.perf_counter()
        connection.request("GET", "/engine_metrics", headers=headers or {})
        answer = connection.getresponse()
        self.last = answer.read()
        seconds = time.perf_counter() - start
        connection.close()
        assert answer.status == 200, self.last
        return seconds, len(self.last)

    def scrape_often(self, headers: dict[str, str] | None = None) -> tuple[float, int]:
        """Scrape several times; return seconds and body size of the fastest, the least disturbed."""
        return min(self.scrape(headers) for _ in range(ROUNDS))

    def cpu(self, scrapes: int) -> float:
        """Return the mean CPU seconds of a scrape, over `scrapes` of them."""
        before = self._cpu()
        for _ in range(scrapes):
            self.scrape()
        return (self._cpu() - before) / scrapes

    def _cpu(self) -> float:
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # user and system time

    def least_memory(self) -> int:
        """Return the least resident memory after several scrapes: freed memory is not returned at once."""
        return min((self.scrape(), self.memory("VmRSS"))[1] for _ in range(ROUNDS))

    def memory(self, field: str) -> int:
        """Return bytes of resident memory: `field` is VmRSS for the present, VmHWM for the peak."""
        text = Path(f"/proc/{self._pid}/status").read_text()
        match = re.search(rf"{field}:\s+(\d+) kB", text)
        assert match
        return 1024 * int(match[1])


@contextmanager
def _workers(bodies: Sequence[Path], *options: str) -> Iterator[int]:
    """Run workers; yield their port."""
    port = _free_port()
    command = ["-m", "benchmarks._fleet_workers", str(port), *map(str, bodies), *options]
    with subprocess.Popen([sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            yield port
        finally:
            process.kill()


@contextmanager
def _fleet(port: int, number: int) -> Iterator[_Scraped]:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        targets = [f"http://{address(worker)}:{port}" for worker in range(number)]
        json.dump([{"targets": targets}], file)
        file.flush()
        own = _free_port()
        command = [
            sys.executable,
            "-m",
            "exporter",
            "fleet",
            f"--workers-file={file.name}",
            f"--listen-port={own}",
        ]
        with _running(command, lambda: _get(own, "/readyz")[0] == 200) as pid:
            yield _Scraped(own, pid)


@contextmanager
def _smg(port: int, number: int) -> Iterator[_Scraped]:
    own = _free_port()
    urls = [f"http://{address(worker)}:{port}" for worker in range(number)]
    command = ["smg", "launch", "--host=127.0.0.1", f"--port={own}", f"--prometheus-port={_free_port()}"]
    command += ["--disable-load-monitoring", "--log-level=error", "--worker-urls", *urls]

    def ready() -> bool:
        workers = json.loads(_get(own, "/workers")[1])["workers"]
        return [worker["is_healthy"] for worker in workers] == [True] * number

    with _running(command, ready) as pid:
        yield _Scraped(own, pid)


@contextmanager
def _running(command: Sequence[str], ready: Callable[[], bool]) -> Iterator[int]:
    """Run a program; yield its pid once it is ready."""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + START_TIMEOUT
            while True:
                assert process.poll() is None, f"{command[0]} ended"
                assert time.monotonic() < deadline, f"{command[0]} is not ready after {START_TIMEOUT:g} s"
                try:
                    if ready():
                        break
                except (OSError, ValueError, KeyError):
                    pass
                time.sleep(0.1)
            yield process.pid
        finally:
            process.kill()


def _get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def _bodies(folder: Path, name: str) -> list[Path]:
    """Write two bodies of a recorded worker that have no value in common; return their paths."""
    with tarfile.open(ROOT / "tests" / "data" / f"{name}.tar.xz") as archive:
        archive.extractall(folder / name, filter="data")
    (directory,) = (folder / name).iterdir()
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(directory))
    body = generate_latest(registry)
    files = [folder / f"{name}-{number}.txt" for number in range(2)]
    for number, file in enumerate(files):
        file.write_bytes(re.sub(rb"(?m) (?=[0-9.e+-]+$)", b" %d" % (number + 1), body))
    return files


def _without_unreadable(body: Path) -> Path:
    file = body.with_suffix(".smg.txt")
    lines = body.read_bytes().splitlines(keepends=True)
    names = "|".join(map(re.escape, UNREADABLE_TO_SMG)).encode()
    file.write_bytes(
        b"".join(line for line in lines if not re.match(rb"(# (HELP|TYPE) )?(%b)" % names, line))
    )
    return file


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    return port


if __name__ == "__main__":
    main()
