import json
from pathlib import Path

from pytest_aiohttp.plugin import AiohttpClient

from exporter.node.app import make_app
from exporter.node.parts import Node
from exporter.options.node import NodeOptions
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


async def test_before_the_first_look_the_list_is_an_error_so_that_prometheus_keeps_its_last_one(
    aiohttp_client: AiohttpClient,
) -> None:
    client = await aiohttp_client(make_app(Node(NodeOptions()), max_requests=1))
    answer = await client.get("/sd")
    problem = "no look at this host's processes has ended yet\n"
    assert (answer.status, await answer.text()) == (503, problem)
