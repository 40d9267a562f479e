from exporter.discovery.proc import Proc
from exporter.node.kubernetes import labels_of


class Pod(Proc):
    """A process of a pod."""

    def __init__(self, hostname: str = "", namespace: str = "", container: str = "") -> None:
        super().__init__()
        self._said = hostname, namespace, container

    def variable(self, pid: int, name: bytes) -> str:
        assert (pid, name) == (7, b"HOSTNAME")
        return self._said[0]

    def text(self, pid: int, path: str) -> str:
        assert (pid, path) == (7, "/var/run/secrets/kubernetes.io/serviceaccount/namespace")
        return self._said[1]

    def container_id(self, pid: int) -> str:
        assert pid == 7
        return self._said[2]


def test_a_worker_of_a_pod() -> None:
    assert labels_of(7, Pod("worker-0", "inference\n", "5d" * 32)) == {
        "pod": "worker-0",
        "namespace": "inference",
        "container_id": "5d" * 32,
    }


def test_what_is_unknown_is_no_label() -> None:
    assert labels_of(7, Pod(namespace=" \n")) == {}


def test_names_of_any_bytes_and_length_become_text() -> None:
    assert labels_of(7, Pod("\udcff\n" + "x" * 1000)) == {"pod": ("\\udcff\\n" + "x" * 1000)[:253]}
