"""The pages in a real browser: their figures, that they go on by themselves, and that they are fit for everyone."""

import http.client
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import bcrypt
import pytest

from exporter.web.engine_page import shown
from tests.support.browser import THEMES, WIDTHS, Browser, browser, overflow, violations
from tests.support.certificates import Authority
from tests.support.daemon import Daemon, daemon, free_port
from tests.support.snapshots import counter, gauge, histogram
from tests.support.waiting import DEADLINE, eventually
from tests.support.writers import Writer, writer

pytestmark = pytest.mark.peer

RANKS = ("0", "1", "2", "3")


@pytest.fixture(scope="module", name="chromium")
def _chromium() -> Iterator[Browser]:
    with browser() as it:
        yield it


@pytest.fixture(scope="module", name="process")
def _process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writer]:
    """Run a worker of four ranks."""
    directory = tmp_path_factory.mktemp("page") / "worker"
    directory.mkdir()
    with writer(directory) as process:
        process.directory = directory  # type: ignore[attr-defined]
        for rank in RANKS:
            process.set("sglang:num_running_reqs", 21, tp_rank=rank, model_name="llama")
            process.set("sglang:num_queue_reqs", 3, tp_rank=rank, model_name="llama")
            process.set("sglang:token_usage", 0.56, tp_rank=rank, model_name="llama")
        process.add("sglang:generation_tokens", 1000)
        process.add("sglang:prompt_tokens", 1000)
        process.observe("sglang:time_to_first_token_seconds", 0.2)
        yield process


@pytest.fixture(scope="module", name="exporter")
def _exporter(process: Writer) -> Iterator[Daemon]:
    with daemon(directory_of(process)) as it:
        eventually(lambda: it.scrape().value("sglang:num_running_reqs", tp_rank="3") == 21, "all is written")
        yield it


def directory_of(process: Writer) -> Path:
    return process.directory  # type: ignore[attr-defined, no-any-return]


def figure(page: Any, path: str) -> str:
    return str(page.locator(f'.tiles [data-path="{path}"]').first.inner_text())


def awaited(page: Any, path: str, text: str) -> None:
    eventually(lambda: figure(page, path) == text, f"{path} is {text}, not {figure(page, path)}")


# --- One worker ---


def test_the_figures_are_those_of_the_metrics(chromium: Browser, exporter: Daemon) -> None:
    with chromium.page(exporter.url) as page:
        metrics = exporter.scrape()
        for path, name, format_ in (
            ("requests.running", "num_running_reqs", "count"),
            ("requests.queued", "num_queue_reqs", "count"),
            ("kv_cache_usage", "token_usage", "ratio"),
        ):
            value = metrics.value(f"sglang:{name}", tp_rank="0")
            awaited(page, path, shown(value, format_))
        assert "llama" in page.inner_text(".state")
        assert page.locator("#ranks tbody tr").count() == len(RANKS)
        assert page.inner_text("#ranks tbody tr:last-child td") == "21"


def test_it_goes_on_by_itself(chromium: Browser, exporter: Daemon, process: Writer) -> None:
    with chromium.page(exporter.url) as page:
        awaited(page, "requests.queued", "3")
        for rank in RANKS:
            process.set("sglang:num_queue_reqs", 50, tp_rank=rank, model_name="llama")
        process.add("sglang:generation_tokens", 5000)
        awaited(page, "requests.queued", "50")
        eventually(lambda: "Queueing: 50 wait, 21 run" in page.inner_text(".state"), "the headline says so")
        assert page.get_attribute(".state", "data-state") == "queueing"
        eventually(
            lambda: figure(page, "tokens.generated_per_second") not in {"0", shown(None)}, "tokens flow"
        )
        lines = page.locator(".chart .line")
        eventually(lambda: "L" in (lines.first.get_attribute("d") or ""), "the charts have lines")
        for rank in RANKS:
            process.set("sglang:num_queue_reqs", 3, tp_rank=rank, model_name="llama")
        awaited(page, "requests.queued", "3")


def test_a_hidden_page_asks_nothing(chromium: Browser, exporter: Daemon) -> None:
    with chromium.page(exporter.url) as page:
        awaited(page, "requests.running", "21")
        asked: list[float] = []
        page.on("request", lambda _: asked.append(time.monotonic()))
        page.evaluate(
            """() => {
                Object.defineProperty(document, "visibilityState", { get: () => "hidden" });
                document.dispatchEvent(new Event("visibilitychange"));
            }"""
        )
        page.wait_for_timeout(300)  # for what is under way
        begun = len(asked)
        page.wait_for_timeout(4500)
        assert len(asked) == begun


def test_it_says_so_when_the_exporter_is_gone_and_when_it_is_back(chromium: Browser, process: Writer) -> None:
    port = free_port()
    context = chromium._chromium.new_context()
    try:
        page = context.new_page()
        with daemon(directory_of(process), port=port) as it:
            page.goto(it.url)
            awaited(page, "requests.running", "21")
            assert page.inner_text("#notice") == ""
        eventually(lambda: "no answer from the exporter since" in page.inner_text("#notice"), "it says so")
        assert figure(page, "requests.running") == "21"
        assert page.locator("main.is-stale").count() == 1
        with daemon(directory_of(process), port=port):
            eventually(lambda: page.inner_text("#notice") == "", "it is back")
            assert page.locator("main.is-stale").count() == 0
    finally:
        context.close()


def test_without_javascript_the_figures_are_there(chromium: Browser, exporter: Daemon) -> None:
    with chromium.page(exporter.url, java_script_enabled=False) as page:
        assert figure(page, "requests.running") == "21"
        assert figure(page, "kv_cache_usage") == "56 %"
        assert page.locator("#ranks tbody tr").count() == len(RANKS)
        assert not page.locator(".chart").first.is_visible()


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_each_screen_and_everyone(
    chromium: Browser, exporter: Daemon, width: int, theme: str
) -> None:
    with chromium.page(exporter.url, width=width, theme=theme) as page:
        awaited(page, "requests.running", "21")
        page.wait_for_selector(".chart .line", state="attached")
        assert overflow(page) <= 0
        assert violations(page) == []


@pytest.fixture(scope="module", name="app")
def _app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, Writer]]:
    """Run an application that is no inference engine, and its exporter."""
    directory = tmp_path_factory.mktemp("app") / "worker"
    directory.mkdir()
    with writer(directory) as process:
        process.add("orders_total", 3)
        with daemon(directory) as it:
            eventually(lambda: it.scrape().value("orders_total") == 3, "all is written")
            yield it, process


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_of_another_application_the_state_leads_and_no_figure_is_empty(
    chromium: Browser, app: tuple[Daemon, Writer], width: int, theme: str
) -> None:
    exporter, _ = app
    with chromium.page(exporter.url, width=width, theme=theme) as page:
        page.wait_for_selector("main.is-live")
        eventually(lambda: page.inner_text("#updated").startswith("updated"), "it has been refreshed")
        assert not page.locator("#engine .tiles, .chart, #ranks").filter(visible=True).count()
        (state,) = page.locator(".state").filter(visible=True).all()
        assert state.inner_text().startswith("Worker is up")
        assert state.bounding_box()["y"] < 150
        assert overflow(page) <= 0
        assert violations(page) == []


def test_an_engine_that_appears_is_shown(chromium: Browser, app: tuple[Daemon, Writer]) -> None:
    exporter, process = app
    with chromium.page(exporter.url) as page:
        eventually(lambda: page.inner_text("#updated").startswith("updated"), "it has been refreshed")
        assert not page.locator(".chart").first.is_visible()
        process.set("sglang:num_running_reqs", 4, model_name="llama")
        awaited(page, "requests.running", "4")
        page.locator(".chart .line").first.wait_for(state="attached")
        assert page.locator(".chart").first.is_visible()
        assert page.inner_text(".facts").endswith("llama · sglang")


def test_a_rank_that_lags_is_marked(chromium: Browser, exporter: Daemon) -> None:
    """The rule is tested elsewhere; here an answer says that a rank lags."""

    def lag(route: Any) -> None:
        answer = route.fetch()
        body = answer.json()
        body["workers"][0]["ranks"][2]["lags"] = True
        route.fulfill(response=answer, json=body)

    with chromium.page(exporter.url) as page:
        marks = page.locator("#ranks .mark")
        assert marks.filter(visible=True).count() == 0
        page.route("**/engine.json*", lag)
        marks.filter(visible=True).first.wait_for()
        assert [mark.is_visible() for mark in marks.all()] == [False, False, True, False]
        assert violations(page) == []


def test_charts_are_read_by_keyboard(chromium: Browser, exporter: Daemon) -> None:
    with chromium.page(exporter.url) as page:
        page.wait_for_selector(".chart .line", state="attached")
        chart = page.locator(".chart svg").first
        chart.focus()
        page.keyboard.press("ArrowLeft")
        assert re.fullmatch(r"\d\d:\d\d:\d\d", page.inner_text(".chart time"))
        assert page.locator(".chart .pointer").count() == page.locator(".chart").count()
        page.keyboard.press("Tab")
        assert page.locator(".chart .pointer").count() == 0


LOADS = 9
LATEST_PAINT = 500
"""Milliseconds from asking for the page to the first paint of its text."""


def first_paint(chromium: Browser, url: str) -> float:
    """Load a page with empty caches; return when its first text was painted, in milliseconds."""
    with chromium.page(url) as page:
        # Not by wait_for_function, which evaluates a text in the page: its policy forbids that.
        when = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
        return float(eventually(lambda: page.evaluate(when), "something is painted"))


def test_the_page_with_its_script_is_small(exporter: Daemon, fleet: Daemon) -> None:
    for one in (exporter, fleet):
        assert len(one.get("/").body) < 150_000


def test_the_first_paint_is_soon(
    chromium: Browser, exporter: Daemon, fleet: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, one in (("a worker", exporter), (f"a fleet of {COUNT}", fleet)):
        paints = sorted(first_paint(chromium, one.url) for _ in range(LOADS))
        with capsys.disabled():
            figures = (
                f"least {paints[0]:.0f} ms, median {paints[LOADS // 2]:.0f} ms, most {paints[-1]:.0f} ms"
            )
            print(f"\nfirst paint of the page of {name}, {LOADS} loads: {figures}")
        assert paints[0] < LATEST_PAINT, "the least: what the machine does beside it only adds to it"


def test_behind_a_path_prefix(chromium: Browser, exporter: Daemon) -> None:
    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path.startswith("/under/here/")
            connection = http.client.HTTPConnection(exporter.host, exporter.port, timeout=DEADLINE)
            connection.request("GET", self.path.removeprefix("/under/here"))
            answer = connection.getresponse()
            body = answer.read()
            connection.close()
            self.send_response(answer.status)
            for name in ("Content-Type", "Content-Security-Policy"):
                if value := answer.headers[name]:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http_server(Proxy) as url, chromium.page(f"{url}/under/here/") as page:
        page.wait_for_selector(".chart .line", state="attached")
        awaited(page, "requests.running", "21")


def test_behind_tls_and_a_password(chromium: Browser, process: Writer, tmp_path: Path) -> None:
    Authority(tmp_path).issue("server")
    password = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    config = {
        "tls_server_config": {"cert_file": "server.crt", "key_file": "server.key"},
        "basic_auth_users": {"me": password},
    }
    (tmp_path / "web.yml").write_text(json.dumps(config))
    options: dict[str, Any] = {
        "ignore_https_errors": True,
        "http_credentials": {"username": "me", "password": "secret"},
    }
    with (
        daemon(directory_of(process), f"--web-config={tmp_path / 'web.yml'}") as it,
        chromium.page(f"https://127.0.0.1:{it.port}/", **options) as page,
    ):
        page.wait_for_selector(".chart .line", state="attached")
        awaited(page, "requests.running", "21")


# --- Many workers ---

COUNT = 60
DOWN, SATURATED, QUEUEING = 7, 11, 13


class Workers(BaseHTTPRequestHandler):
    """The metrics of many workers, by path; three of them are in trouble."""

    def do_GET(self) -> None:
        number = int(self.path.split("/")[1])
        queued = {SATURATED: 9, QUEUEING: 99}.get(number, 0)
        body = "".join(
            [
                gauge("sglang:num_running_reqs", {'model_name="m"': 10 + number}),
                gauge("sglang:num_queue_reqs", {"": queued}),
                gauge("sglang:token_usage", {"": 0.99 if number == SATURATED else 0.5}),
                counter("sglang:generation_tokens", {"": 1000 * time.time() * number}),
                histogram("sglang:time_to_first_token_seconds", {"": {"1": 5, "+Inf": 5}}),
            ]
        ).encode()
        self.send_response(500 if number == DOWN else 200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def http_server(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module", name="fleet")
def _fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with http_server(Workers) as url:
        workers = [f"--worker=grpc://w{number}:1={url}/{number}/metrics" for number in range(COUNT)]
        directory = tmp_path_factory.mktemp("fleet") / "none"
        program = ("-m", "exporter", "fleet")
        with daemon(directory, *workers, program=program, port_of_worker=False) as it:
            yield it


def names(page: Any) -> list[str]:
    return [str(name) for name in page.locator("#workers tbody tr:not([hidden]) th").all_inner_texts()]


def test_a_fleet_shows_all_workers_those_in_trouble_first(chromium: Browser, fleet: Daemon) -> None:
    with chromium.page(fleet.url) as page:
        eventually(lambda: len(names(page)) == COUNT, "all are there")
        in_trouble = [f"grpc://w{number}:1" for number in (DOWN, SATURATED, QUEUEING)]
        eventually(lambda: names(page)[:3] == in_trouble, "those in trouble come first")
        assert (
            page.inner_text("#summary").split()
            == f"1 down 1 saturated 1 queueing {COUNT - 3} serving".split()
        )
        page.locator("#workers .spark .line").first.wait_for(state="attached")


def test_a_fleets_table_is_sorted_and_filtered_by_keyboard(chromium: Browser, fleet: Daemon) -> None:
    with chromium.page(fleet.url) as page:
        eventually(lambda: len(names(page)) == COUNT, "all are there")
        page.get_by_role("button", name="running").focus()
        page.keyboard.press("Enter")
        assert names(page)[0] == f"grpc://w{COUNT - 1}:1"
        assert page.locator("th[aria-sort=descending]").inner_text().startswith("running")
        page.keyboard.press("Enter")
        assert names(page)[0] == "grpc://w0:1"
        page.fill("#filter", "w1")
        assert names(page) == ["grpc://w1:1", *(f"grpc://w{number}:1" for number in range(10, 20))]


def test_a_worker_of_a_fleet_has_a_page_of_its_own(chromium: Browser, fleet: Daemon) -> None:
    with chromium.page(fleet.url) as page:
        page.get_by_role("link", name="grpc://w5:1", exact=True).click()
        page.wait_for_selector(".chart .line", state="attached")
        awaited(page, "requests.running", "15")
        page.get_by_role("link", name="All workers").click()
        eventually(lambda: len(names(page)) == COUNT, "all are there again")


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_a_fleet_fits_each_screen_and_everyone(
    chromium: Browser, fleet: Daemon, width: int, theme: str
) -> None:
    with chromium.page(fleet.url, width=width, theme=theme) as page:
        eventually(lambda: len(names(page)) == COUNT, "all are there")
        page.click("#exporter summary")
        targets = page.locator(".list tbody tr")
        assert targets.filter(visible=True).count() == COUNT
        assert targets.last.locator("td").filter(visible=True).count() == (2 if width == min(WIDTHS) else 4)
        assert overflow(page) <= 0
        assert violations(page) == []
