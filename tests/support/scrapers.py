"""Real scrapers as processes of their own: Prometheus, and VictoriaMetrics, which reads the same configuration."""

import http.client
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

from tests.support.daemon import free_port
from tests.support.peers import program
from tests.support.waiting import DEADLINE, eventually


class Target(Protocol):
    """What a scraper is pointed at."""

    @property
    def host(self) -> str:
        """The address that it listens on."""

    @property
    def port(self) -> int:
        """The port that it listens on."""


class Scraper:
    """A running scraper, asked through Prometheus' HTTP API."""

    def __init__(self, port: int, log: Path, info: str) -> None:
        """Ask on a port. Lines of the log that have `info` are no complaints."""
        self._port = port
        self._log = log
        self._info = info

    def get(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=DEADLINE)
        try:
            connection.request("GET", f"/api/v1/{path}?{urlencode(parameters)}")
            answer = json.load(connection.getresponse())
        finally:
            connection.close()
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Return labels and value of each series that an expression gives now."""
        return [
            (series["metric"], float(series["value"][1]))
            for series in self.get("query", query=expression)["result"]
        ]

    def ready(self, path: str) -> bool:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=DEADLINE)
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def complaints(self) -> list[str]:
        """Return what it has logged that it did not like."""
        return [line for line in self._log.read_text().splitlines() if self._info not in line]


@contextmanager
def prometheus(
    directory: Path, targets: Mapping[str, Target], **options: Mapping[str, Any]
) -> Iterator[Scraper]:
    """Run a Prometheus that scrapes each target in a job of that name, five times a second.

    `options` are more of a job's keys, by its name.
    """
    with prometheus_with_rules((), directory, targets, **options) as it:
        yield it


@contextmanager
def prometheus_with_rules(
    rules: Sequence[Path], directory: Path, targets: Mapping[str, Target], **options: Mapping[str, Any]
) -> Iterator[Scraper]:
    """Run a Prometheus that scrapes as `prometheus` does, and evaluates the rules of these files as often."""
    port = free_port()
    command = [
        program("prometheus"),
        f"--config.file={_config(directory, targets, options, rules)}",
        f"--storage.tsdb.path={directory / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    log = directory / "prometheus.log"
    with _running(command, Scraper(port, log, "level=info"), log, "/-/ready") as it:
        yield it


@contextmanager
def victoria_metrics(
    directory: Path, targets: Mapping[str, Target], **options: Mapping[str, Any]
) -> Iterator[Scraper]:
    """Run a VictoriaMetrics that scrapes as `prometheus` does."""
    port = free_port()
    command = [
        program("victoria-metrics"),
        f"-promscrape.config={_config(directory, targets, options)}",
        f"-storageDataPath={directory / 'victoria-metrics'}",
        f"-httpListenAddr=127.0.0.1:{port}",
        "-search.latencyOffset=0s",  # else it tells of nothing that is newer than half a minute
    ]
    log = directory / "victoria-metrics.log"
    with _running(command, Scraper(port, log, "\tinfo\t"), log, "/health") as it:
        yield it


def _config(
    directory: Path,
    targets: Mapping[str, Target],
    options: Mapping[str, Mapping[str, Any]],
    rules: Sequence[Path] = (),
) -> Path:
    jobs = [
        {
            "job_name": name,
            "static_configs": [{"targets": [f"{target.host}:{target.port}"]}],
            **options.get(name, {}),
        }
        for name, target in targets.items()
    ]
    often = {"scrape_interval": "200ms", "scrape_timeout": "200ms"}
    config: dict[str, Any] = {"global": often, "scrape_configs": jobs}
    if rules:  # keys that VictoriaMetrics does not know
        often["evaluation_interval"] = "200ms"
        config["rule_files"] = list(map(str, rules))
    file = directory / "prometheus.yml"
    file.write_text(json.dumps(config))  # which is YAML too
    return file


@contextmanager
def _running(command: Sequence[str], it: Scraper, log: Path, ready: str) -> Iterator[Scraper]:
    with log.open("wb") as stderr:
        popen = subprocess.Popen(command, cwd=log.parent, stdout=subprocess.DEVNULL, stderr=stderr)
    try:
        eventually(lambda: it.ready(ready) or popen.poll() is not None, "the scraper is ready")
        assert popen.poll() is None, log.read_text()
        yield it
    finally:
        popen.terminate()
        popen.wait(DEADLINE)
