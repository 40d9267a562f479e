from exporter.node.page import render
from exporter.node.status import MemberStatus, NodeStatus


def page(*workers: MemberStatus, problem: str = "", left_out: int = 0) -> str:
    status = NodeStatus(
        version="1",
        node_name="gpu-1",
        started=0.0,
        problem=problem,
        workers=workers,
        left_out=left_out,
        processes=1200,
        denied={"root": 3, "nobody": 0},
        way_in="run as root",
        hidden="/proc hides them",
        unreadable={"/x<y": "Permission denied"} if left_out else {},
    )
    return render(status, [], now=10.0)


def member(state: str = "live", problem: str = "") -> MemberStatus:
    return MemberStatus("grpc://a:1", state, "/m", {}, (7, 8), "serve <b>", problem, 1200)


def test_workers_are_listed_with_what_is_known_of_them() -> None:
    text = page(member(), member("down", "its last process has ended"))
    assert "1 of 2 workers down" in text
    assert "<code>grpc://a:1</code>" in text
    assert "serve &lt;b&gt;" in text
    assert "its last process has ended" in text
    assert text.count("<td>2</td>") == 2, "processes"
    assert text.count("<td>1,200</td>") == 2, "series"


def test_all_workers_up() -> None:
    assert "1 worker up" in page(member())


def test_no_worker_is_no_failure() -> None:
    assert "No process of this host writes metrics files." in page()


def test_what_stands_in_the_way_comes_first() -> None:
    assert "No worker can be found" in page(problem="nobody can be seen")


def test_what_is_not_served_is_told() -> None:
    text = page(member(), left_out=4)
    assert "3 processes of user root" in text
    assert "closed to the exporter: run as root" in text
    assert "user nobody" not in text
    assert "<td>other users&#x27; processes</td><td>/proc hides them</td>" in text.replace("'", "&#x27;")
    assert "4 workers" in text
    assert "<code>/x&lt;y</code>" in text
