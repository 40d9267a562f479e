import pytest

from exporter.discovery.finder import Finder, Findings
from exporter.discovery.obstacles import way_in, why_not_found
from exporter.discovery.parsing import Socket
from exporter.discovery.servers import Process

READ_ALL = 1 << 19 | 1 << 2


class Looked(Finder):
    """A finder whose last look found what a test says."""

    def __init__(self, *processes: Process, holder: int | None = None, uid: int | None = None) -> None:
        self.findings = Findings()
        self._holder = holder
        self._uid = uid
        self._known = {one.pid: one for one in processes}

    @property
    def processes(self) -> dict[int, Process]:
        return self._known

    def listening(self, port: int) -> dict[int, Socket]:
        return {} if self._uid is None else {5: Socket("127.0.0.1", port, self._uid)}

    def holder(self, inodes: object) -> int | None:
        assert inodes
        return self._holder


def why(finder: Finder, uid: int = 7, capabilities: int = 0) -> str:
    own = Process(1, 0, 0, uid=uid, capabilities=capabilities)
    return why_not_found(8001, finder, own, lambda number: {0: "root", 8: "sglang"}[number])


def server(capabilities: int = 0, uid: int = 8) -> Process:
    return Process(4711, 1, 0, uid=uid, capabilities=capabilities, command=("serve", "--port=8001"))


def test_nobody_listens() -> None:
    assert why(Looked()) == "no process listens on port 8001"


def test_nobody_can_be_seen() -> None:
    finder = Looked()
    finder.findings = Findings(is_alone=True)
    assert why(finder) == (
        "no process listens on port 8001, and only the exporter's own processes can be seen: "
        "share the worker's pid namespace, or set --multiproc-dir"
    )


def test_a_server_without_metrics_files() -> None:
    assert why(Looked(holder=4711, uid=8)) == (
        "process 4711 listens on port 8001, but neither it nor its children have a metrics file open: "
        "is --enable-metrics given?"
    )


def test_a_directory_that_may_not_be_opened() -> None:
    finder = Looked(holder=4711, uid=8)
    finder.findings = Findings(unreadable={"/metrics": "Permission denied"})
    assert why(finder) == (
        "process 4711 listens on port 8001, but /metrics cannot be opened: Permission denied"
    )


@pytest.mark.parametrize(
    ("finder", "own", "reason"),
    [
        (Looked(server(), uid=8), (7, 0), "run as that user, or with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"),
        (Looked(server(1), uid=8), (8, 0), "it has capabilities that the exporter lacks"),
        (Looked(server(), uid=8), (8, 0), "it is not dumpable"),
        (Looked(server(), uid=8), (0, READ_ALL), "it may be in another user namespace, or protected"),
    ],
)
def test_each_reason_for_which_a_process_may_not_be_looked_into(
    finder: Finder, own: tuple[int, int], reason: str
) -> None:
    text = why(finder, *own)
    assert text.startswith("cannot look into process 4711 of user sglang, which listens on port 8001: ")
    assert reason in text
    assert text.endswith("set --multiproc-dir")


def test_the_way_into_processes_of_others_depends_on_what_the_exporter_may_do() -> None:
    assert way_in(0) == "run as root, or with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"
    assert way_in(READ_ALL) == "they are in another user namespace, or protected, as by AppArmor or SELinux"


def test_a_process_that_cannot_be_named() -> None:
    others = server(uid=0), Process(5, 1, 0, uid=8, command=("serve", "--port=80010"))
    assert why(Looked(*others, uid=8)).startswith(
        "cannot look into the process of user sglang, which listens"
    )
