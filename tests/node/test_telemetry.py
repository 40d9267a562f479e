from exporter.node.telemetry import Facts, Telemetry, all_own_names


def test_what_a_look_found_is_told() -> None:
    facts = Facts()
    facts.workers, facts.denied, facts.seconds = {"live": 2, "left_out": 1}, 3, 0.5
    told = {
        (name, *(value for _, value in labels)): number
        for values in Telemetry(facts, lambda: {"read": 0.25}).tell()
        for samples, numbers in zip(values.samples, values.values, strict=True)
        for (name, labels), number in zip(samples, numbers, strict=True)
    }
    assert told["smg_exporter_workers", "live"] == 2
    assert told["smg_exporter_workers", "down"] == 0
    assert told["smg_exporter_workers", "left_out"] == 1
    assert told["smg_exporter_discovery_denied_processes",] == 3
    assert told["smg_exporter_discovery_duration_seconds",] == 0.5
    assert told["smg_exporter_scrape_duration_seconds", "read"] == 0.25


def test_names_of_a_workers_own_metrics_are_reserved_too() -> None:
    assert {"smg_exporter_workers", "smg_exporter_worker_up"} <= all_own_names()
