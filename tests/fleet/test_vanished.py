from collections.abc import Sequence

from exporter.fleet.targets import Target, from_option
from exporter.fleet.vanished import KEPT, MOST, Vanished, WasUp, keep

A, B = from_option("grpc://a:1"), from_option("grpc://b:1")


def down(*targets: Target) -> WasUp:
    return lambda target, _since: target not in targets


def unknown(_target: Target, _since: float) -> None:
    return None


def names(vanished: Sequence[Vanished]) -> list[str]:
    return [one.target.worker_addr for one in vanished]


def test_a_target_that_vanishes_while_down_is_kept_for_ten_minutes() -> None:
    kept = keep([], [A, B], [B], down(A), 100.0)
    assert kept == (Vanished(A, 100.0, is_down=True),)
    assert keep(kept, [B], [B], down(A), 99.9 + KEPT) == kept
    assert keep(kept, [B], [B], down(A), 100.0 + KEPT) == ()
    assert KEPT == 600


def test_a_target_stays_until_a_scrape_since_then_has_found_it_up_or_down() -> None:
    asked = []

    def was_up(target: Target, since: float) -> None:
        asked.append((target, since))

    kept = keep([], [A], [], was_up, 100.0)
    assert kept == (Vanished(A, 100.0),)
    assert keep(kept, [], [], was_up, 101.0) == kept
    assert asked == [(A, 100.0)] * 2
    assert keep(kept, [], [], unknown, 100.0 + KEPT) == (), "nothing is kept for good"
    kept = keep(kept, [], [], down(A), 102.0)
    assert kept == (Vanished(A, 100.0, is_down=True),)
    assert keep(kept, [], [], unknown, 103.0) == kept, "once down is down, until a scrape finds it up"


def test_a_target_that_answers_goes_at_once_and_one_that_answers_again_too() -> None:
    assert keep([], [A, B], [B], down(), 0.0) == ()
    assert keep([Vanished(A, 0.0, is_down=True)], [B], [B], down(), 1.0) == ()


def test_a_target_that_is_listed_again_is_not_vanished_even_elsewhere() -> None:
    elsewhere = from_option("grpc://a:1=http://a:9400/metrics")
    for again in (A, elsewhere):
        assert keep([Vanished(A, 0.0)], [], [again], down(A), 1.0) == ()
    assert keep([], [A], [elsewhere], down(A), 1.0) == ()


def test_ranks_of_one_server_vanish_once() -> None:
    ranks = [from_option(f"grpc://a:1@{rank}") for rank in range(2)]
    assert names(keep([], ranks, [], down(*ranks), 0.0)) == ["grpc://a:1"]


def test_of_many_vanished_targets_the_last_ones_are_kept() -> None:
    kept: Sequence[Vanished] = ()
    for number in range(20):
        generation = [from_option(f"grpc://h{number}-{one}:1") for one in range(100)]
        kept = keep(kept, generation, [], unknown, float(number))
    assert len(kept) == MOST
    assert names(kept)[0] == "grpc://h10-0:1"
    assert names(kept)[-1] == "grpc://h19-99:1"
