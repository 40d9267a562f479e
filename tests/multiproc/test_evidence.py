import os
from pathlib import Path

from exporter.multiproc.evidence import HostEvidence
from exporter.multiproc.processes import find_process
from tests.support.files import counter, write


def test_what_is_known_of_files(tmp_path: Path) -> None:
    evidence = HostEvidence(str(tmp_path))
    (tmp_path / "counter_1.db").touch()
    assert not evidence.is_set_up("counter_1.db")
    write(tmp_path / "counter_2.db", {counter("a"): 1.0})
    assert evidence.is_set_up("counter_2.db")
    os.utime(tmp_path / "counter_2.db", (5e8, 5e8))
    assert evidence.last_write("counter_2.db") == 5e8
    assert evidence.last_write("counter_3.db") == 0.0
    assert not evidence.is_set_up("counter_3.db")


def test_what_is_known_of_processes(tmp_path: Path) -> None:
    evidence = HostEvidence(str(tmp_path))
    myself = str(os.getpid())
    nobody = {str(2**22 + number) for number in range(300)}
    assert list(evidence.existing(frozenset({myself, "text", "²", *list(nobody)[:10]}))) == [myself]
    assert set(evidence.existing(frozenset({myself, "text", *nobody}))) == {myself}
    assert evidence.find_process(myself) == find_process(myself)
