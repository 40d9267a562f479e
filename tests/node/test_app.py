import json
from pathlib import Path

from tests.node.running import host, served
from tests.support.expositions import Exposition
from tests.support.waiting import eventually


def test_all_workers_one_worker_and_the_list_of_them(tmp_path: Path) -> None:
    with host(tmp_path / "a", tmp_path / "b") as it:
        eventually(lambda: served(it, 2), "two workers")
        code, text = it.get("/metrics")
        assert code == 200
        answer = Exposition(text)
        answer.check()
        assert answer.value("smg_exporter_workers", state="live") == 2
        names = {target["labels"]["__param_worker"] for target in it.targets()}
        assert {labels["worker_addr"] for labels in answer.labels("answers_total")} == names
        for target in it.targets():
            name = target["labels"]["__param_worker"]
            assert target == {
                "targets": [f"127.0.0.1:{it.port}"],
                "labels": {"__param_worker": name, "worker_addr": name},
            }
            one = Exposition(it.get(f"/metrics?worker={name}")[1])
            assert one.labels("answers_total") == [{"worker_addr": name}]
        assert it.get("/metrics?worker=grpc://gpu-1:1") == (
            404,
            "no worker of that name; /sd lists them\n",
        )
        assert it.get("/readyz") == (200, "ok\n")
        assert "2 workers up" in it.get("/")[1]
        assert len(json.loads(it.get("/status.json")[1])["workers"]) == 2
        assert it.end() == 0
