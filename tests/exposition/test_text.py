import math
from collections.abc import Sequence
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.utils import floatToGoString

from exporter.exposition import text
from exporter.exposition.text import Renderer, ending
from exporter.model import Family, FamilyValues, Format
from tests.support.compare import facts, of_openmetrics, of_text, snapshot_of, text_of

TEXT, OPENMETRICS = Format.TEXT_0_0_4, Format.OPENMETRICS_1_0_0


def metric(
    name: str, metric_type: str, *samples: tuple[str, dict[str, str], float], help_text: str = "Help."
) -> Metric:
    made = Metric(name, help_text, metric_type)
    for sample in samples:
        made.add_sample(*sample)
    return made


def rendered(
    *metrics: Metric,
    escaping: str = "underscores",
    format_: Format = TEXT,
    labels: Sequence[tuple[str, str]] = (),
) -> str:
    return text_of(Renderer(format_, escaping), snapshot_of(metrics, labels)).decode()


def sample_line(name: str = "a", escaping: str = "underscores", **labels: str) -> str:
    """Return the line of a sample of value 1."""
    return rendered(metric(name, "gauge", (name, labels, 1.0)), escaping=escaping).splitlines()[2]


def value_text(value: float) -> str:
    return rendered(metric("a", "gauge", ("a", {}, value))).splitlines()[2].removeprefix("a ")


@pytest.mark.parametrize(
    ("metric_type", "suffix", "text", "openmetrics"),
    [
        (
            "counter",
            "_total",
            "# HELP s:x_total Help.\n# TYPE s:x_total counter\ns:x_total 1.0\n",
            "# HELP s:x Help.\n# TYPE s:x counter\ns:x_total 1.0\n",
        ),
        (
            "gauge",
            "",
            "# HELP s:x Help.\n# TYPE s:x gauge\ns:x 1.0\n",
            "# HELP s:x Help.\n# TYPE s:x gauge\ns:x 1.0\n",
        ),
        (
            "unknown",
            "",
            "# HELP s:x Help.\n# TYPE s:x untyped\ns:x 1.0\n",
            "# HELP s:x Help.\n# TYPE s:x unknown\ns:x 1.0\n",
        ),
    ],
)
def test_the_two_formats(metric_type: str, suffix: str, text: str, openmetrics: str) -> None:
    made = metric("s:x", metric_type, (f"s:x{suffix}", {}, 1.0))
    assert rendered(made) == text
    assert rendered(made, format_=OPENMETRICS) == openmetrics


def test_families_by_name_with_labels_added() -> None:
    a, b = (metric(name, "gauge", (name, {"z": "1"}, 1.0)) for name in "ab")
    assert rendered(b, a, labels=[("y", "2")]) == (
        '# HELP a Help.\n# TYPE a gauge\na{y="2",z="1"} 1.0\n# HELP b Help.\n# TYPE b gauge\nb{y="2",z="1"} 1.0\n'
    )


def test_nothing_and_families_without_samples() -> None:
    header = "# HELP {0} Help.\n# TYPE {0} gauge\n"
    assert rendered() == ""
    empty, full = metric("e", "gauge"), metric("f", "gauge", ("f", {}, 1.0))
    assert rendered(empty) == header.format("e")
    assert rendered(empty, full, metric("g", "gauge")) == (
        f"{header.format('e')}{header.format('f')}f 1.0\n{header.format('g')}"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"),
        (1.0, "1.0"),
        (-1.5, "-1.5"),
        (0.1, "0.1"),
        (1e-7, "1e-07"),
        (999999.0, "999999.0"),
        (999999.9999, "999999.9999"),
        (1e6, "1e+06"),
        (1000000.5, "1.0000005e+06"),
        (1234567.0, "1.234567e+06"),
        (1e15, "1e+15"),
        (1e16, "1e+16"),
        (-1e6, "-1000000.0"),
        (-1e16, "-1e+16"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (5e-324, "5e-324"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert value_text(value) == text == floatToGoString(value)


@given(st.lists(st.floats() | st.floats(9e5, 2e6), min_size=1, max_size=150), st.data())
def test_numbers_are_those_of_the_stock_encoder_first_and_when_they_change(
    values: list[float], data: st.DataObject
) -> None:
    family = Family("a", "gauge", "Help.")
    samples = [[("a", (("i", str(i)),)) for i in range(len(values))]]
    renderer = Renderer(TEXT)
    for _ in range(3):
        lines = text_of(renderer, [FamilyValues(family, samples, [values])]).decode().splitlines()[2:]
        expected = [f'a{{i="{i}"}} {floatToGoString(value)}' for i, value in enumerate(values)]
        assert [line.replace(" -0.0", " 0.0") for line in lines] == [
            line.replace(" -0.0", " 0.0") for line in expected
        ]
        values = list(values)
        for i in data.draw(st.lists(st.integers(0, len(values) - 1), max_size=5)):
            values[i] = data.draw(st.floats())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("", ""),
        ('say "hi"', r"say \"hi\""),
        ("back\\slash", r"back\\slash"),
        ("two\nlines", r"two\nlines"),
        ("\\n", r"\\n"),
        ("ü 漢字", "ü 漢字"),
        ("100%", "100%"),
        ("%s\r\t", "%s\r\t"),
        ("{},=", "{},="),
    ],
)
def test_label_values(value: str, text: str) -> None:
    made = metric("a", "gauge", ("a", {"l": value}, 1.0))
    assert rendered(made) == f'# HELP a Help.\n# TYPE a gauge\na{{l="{text}"}} 1.0\n'
    assert of_text(rendered(made).encode()) == facts([made])


@pytest.mark.parametrize(
    ("help_text", "text", "openmetrics"),
    [
        ('Say "hi".', 'Say "hi".', r"Say \"hi\"."),
        ("A\\B", r"A\\B", r"A\\B"),
        ("A\nB", r"A\nB", r"A\nB"),
        ("%s 100%", "%s 100%", "%s 100%"),
        ("", "", ""),
    ],
)
def test_help(help_text: str, text: str, openmetrics: str) -> None:
    made = metric("a", "gauge", help_text=help_text)
    assert rendered(made).splitlines()[0] == f"# HELP a {text}"
    assert rendered(made, format_=OPENMETRICS).splitlines()[0] == f"# HELP a {openmetrics}"


@pytest.mark.parametrize(
    ("escaping", "line"),
    [
        ("underscores", 'a_b_1{l_x="1"} 1.0'),
        ("allow-utf-8", '{"a.b-1","l.x"="1"} 1.0'),
        ("dots", 'a_dot_b__1{l_dot_x="1"} 1.0'),
        ("values", 'U__a_2e_b_2d_1{U__l_2e_x="1"} 1.0'),
    ],
)
def test_names_beyond_the_legacy_characters(escaping: str, line: str) -> None:
    assert sample_line("a.b-1", escaping, **{"l.x": "1"}) == line


@pytest.mark.parametrize("escaping", ["underscores", "allow-utf-8", "dots", "values"])
@pytest.mark.parametrize("format_", Format)
def test_a_colon_stays_in_every_scheme(escaping: str, format_: Format) -> None:
    text = rendered(metric("s:x", "counter", ("s:x_total", {}, 1.0)), escaping=escaping, format_=format_)
    total = "__total" if escaping == "dots" else "_total"
    name = "s:x" if format_ is OPENMETRICS else f"s:x{total}"
    assert text == f"# HELP {name} Help.\n# TYPE {name} counter\ns:x{total} 1.0\n"


def test_a_quoted_name_without_labels() -> None:
    assert sample_line('a "b"', "allow-utf-8") == r'{"a \"b\""} 1.0'


def test_labels_that_escaping_makes_equal_are_told_apart() -> None:
    assert sample_line("a", **{"l.x": "1", "l_x": "2", "l-x": "3"}) == 'a{l_x="3",l_x_="1",l_x__="2"} 1.0'


def test_families_that_escaping_makes_equal_are_not_served_twice() -> None:
    dotted, plain, other = (
        metric(name, "gauge", (name, {}, value)) for name, value in (("a.b", 1), ("a_b", 2), ("c", 3))
    )
    snapshot = snapshot_of([plain, other, dotted])
    renderer = Renderer(TEXT)
    text = text_of(renderer, snapshot).decode()
    assert [line for line in text.splitlines() if "#" not in line] == ["a_b 1.0", "c 3.0"]
    later = [values._replace(values=[[5.0 + at]]) for at, values in enumerate(snapshot)]
    text = text_of(renderer, later).decode()
    assert [line for line in text.splitlines() if "#" not in line] == ["a_b 5.0", "c 7.0"]


def test_unchanged_text_is_the_same_object_and_what_was_given_out_stays() -> None:
    snapshot = snapshot_of([metric("a", "gauge", ("a", {}, 1.0))])
    renderer = Renderer(TEXT)
    before = renderer.render(snapshot)
    kept = list(before)
    assert renderer.render(snapshot) is before
    assert list(renderer.render([snapshot[0]._replace(values=[[2.0]])])) != kept
    assert list(before) == kept


def test_other_families() -> None:
    renderer = Renderer(TEXT)
    for size in (1, 3, 0, 200, 2):
        metrics = [metric(f"m{i:03}", "gauge", (f"m{i:03}", {}, float(i))) for i in range(size)]
        text = text_of(renderer, snapshot_of(metrics))
        assert of_text(text) == facts(metrics)
        assert text.count(b"\n") == 3 * size


def test_other_families_with_the_same_values() -> None:
    values = [1.0, 2.0]
    renderer = Renderer(TEXT)
    for name in "ab":
        samples = [(name, (("l", "1"),)), (name, (("l", "2"),))]
        text = text_of(renderer, [FamilyValues(Family(name, "gauge", "Help."), [samples], [values])]).decode()
        assert text.splitlines()[2:] == [f'{name}{{l="1"}} 1.0', f'{name}{{l="2"}} 2.0']


numbers = st.floats(allow_nan=False)
UNIQUE = count()


names = st.lists(st.sampled_from(["a.b", "a_b", "c", "d", "e"]), unique=True)


@settings(max_examples=100)
@given(st.data())
def test_a_kept_text_is_what_a_new_renderer_gives(data: st.DataObject) -> None:
    """Whatever comes, goes, or changes: families, samples of them in some of their blocks, values."""
    kept = Renderer(OPENMETRICS)
    snapshot: list[FamilyValues] = []
    for _ in range(5):
        families: dict[str, FamilyValues] = {values.family.name: values for values in snapshot}
        for name in data.draw(names, "gone"):
            families.pop(name, None)
        for name in data.draw(names, "new"):
            families[name] = FamilyValues(Family(name, "gauge", "Help."), [], [])
        for name in data.draw(names, "other samples"):
            if name in families:
                families[name] = with_another_block(families[name], data)
        for name in data.draw(names, "other values"):
            if name in families and families[name].values:
                values = [list(block) for block in families[name].values]
                at = data.draw(st.integers(0, len(values) - 1))
                values[at] = data.draw(st.lists(numbers, min_size=len(values[at]), max_size=len(values[at])))
                families[name] = families[name]._replace(values=values)
        snapshot = [families[name] for name in sorted(families)]
        assert text_of(kept, snapshot) == text_of(Renderer(OPENMETRICS), snapshot)


def with_another_block(values: FamilyValues, data: st.DataObject) -> FamilyValues:
    """Return a family with a block more, or with another one in its place."""
    labels = data.draw(st.lists(st.sampled_from(["x.y", "x_y", "z"]), max_size=4, unique=True))
    number = next(UNIQUE)
    block = [(values.family.name, ((label, f"{number // 3}"),)) for label in labels]
    block_values = data.draw(st.lists(numbers, min_size=len(block), max_size=len(block)))
    at = data.draw(st.integers(0, len(values.samples)))
    rest = at + data.draw(st.integers(0, 1))
    return FamilyValues(
        values.family,
        [*values.samples[:at], block, *values.samples[rest:]],
        [*values.values[:at], block_values, *values.values[rest:]],
    )


def test_samples_of_two_blocks_that_are_alike_when_escaped_are_one() -> None:
    renderer = Renderer(TEXT)
    family = Family("a", "gauge", "Help.")
    plain, dotted = ([("a", ((label, "1"),))] for label in ("x_y", "x.y"))
    for samples in ([plain], [dotted, plain], [plain, dotted], [plain]):
        lines = text_of(
            renderer, [FamilyValues(family, samples, [[float(at)] for at, _ in enumerate(samples)])]
        )
        assert lines.splitlines()[2:] == [b'a{x_y="1"} 0.0']


def test_a_block_that_comes_leaves_the_texts_of_others_alone() -> None:
    renderer = Renderer(TEXT)
    family, values = Family("a", "gauge", "Help."), [1.0]
    first, second, third = ([("a", (("i", i),))] for i in "123")
    before = renderer.render([FamilyValues(family, [first, third], [values, values])])
    after = renderer.render([FamilyValues(family, [first, second, third], [values, values, values])])
    assert len(after) == len(before) + 1
    assert all(any(chunk is other for other in after) for chunk in before)


def test_a_family_that_comes_leaves_the_texts_of_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    renderer = Renderer(TEXT)
    snapshot = snapshot_of([metric(name, "gauge", (name, {}, 1.0)) for name in "ac"])
    before = renderer.render(snapshot)
    prepared: list[str] = []
    header = text.header

    def noted(name: str, metric_type: str, help_text: str, format_: Format) -> bytes:
        prepared.append(name)
        return header(name, metric_type, help_text, format_)

    monkeypatch.setattr(text, "header", noted)
    after = renderer.render([snapshot[0], *snapshot_of([metric("b", "gauge", ("b", {}, 2.0))]), snapshot[1]])
    assert prepared == ["b"]
    assert all(any(chunk is other for other in after) for chunk in before)


def test_a_family_is_shown_once_its_name_is_free() -> None:
    renderer = Renderer(TEXT)
    dotted, plain = snapshot_of([metric(name, "gauge", (name, {}, 1.0)) for name in ("a.b", "a_b")])
    assert text_of(renderer, [dotted, plain]).count(b"a_b 1.0") == 1
    assert text_of(renderer, [plain]).count(b"a_b 1.0") == 1
    later = plain._replace(values=[[2.0]])
    assert text_of(renderer, [dotted, later]).count(b"a_b 1.0") == 1
    assert text_of(renderer, [later]).count(b"a_b 2.0") == 1


def test_a_change_of_one_value_rewrites_one_line() -> None:
    size = 1000
    family = Family("a", "gauge", "Help.")
    samples = [[("a", (("i", str(i)),)) for i in range(size)]]
    renderer = Renderer(TEXT)
    values = [0.0] * size
    before = text_of(renderer, [FamilyValues(family, samples, [values])]).splitlines()
    for i in (0, 63, 64, 65, size - 1):
        changed = list(values)
        changed[i] = 5e6
        lines = text_of(renderer, [FamilyValues(family, samples, [changed])]).splitlines()
        assert [line for line, old in zip(lines, before, strict=True) if line != old] == [
            b'a{i="%d"} 5e+06' % i
        ]


def test_both_formats_are_read_back_as_they_were() -> None:
    histogram = HistogramMetricFamily("h", "A histogram.", labels=["l"])
    histogram.add_metric(["v"], [("1.0", 1.0), ("+Inf", 2.0)], 3.5)
    counter = CounterMetricFamily("c", "A counter.", value=3e6)
    gauge = GaugeMetricFamily("g", "A gauge.", value=math.nan)
    metrics = [histogram, counter, gauge]
    snapshot = snapshot_of(metrics)
    assert of_text(text_of(Renderer(TEXT), snapshot)) == facts(metrics)
    openmetrics = text_of(Renderer(OPENMETRICS), snapshot)
    assert of_openmetrics(openmetrics + ending(OPENMETRICS)) == facts(metrics)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            metric("p.q", "counter", ("p.q_total", {}, 1.0)),
            metric("p_q_total", "gauge", ("p_q_total", {}, 2.0)),
        ),
        (
            metric("x.y_count", "gauge", ("x.y_count", {}, 1.0)),
            metric("x_y", "histogram", ("x_y_count", {}, 2.0)),
        ),
    ],
)
def test_no_name_of_a_family_is_served_for_another(first: Metric, second: Metric) -> None:
    other = metric("z", "gauge", ("z", {}, 3.0))
    lines = [line for line in rendered(first, second, other).splitlines() if not line.startswith("#")]
    assert [line.split()[1] for line in lines] == ["1.0", "3.0"]


def test_a_sample_that_escaping_makes_another_one_is_left_out() -> None:
    one = metric("g", "gauge", ("g", {"a.b": "1"}, 7.0), ("g", {"a_b": "1"}, 8.0), ("g", {"c": "1"}, 9.0))
    assert rendered(one).splitlines()[2:] == ['g{a_b="1"} 7.0', 'g{c="1"} 9.0']


def test_taken_names_are_left_to_others() -> None:
    snapshot = snapshot_of([metric("a.b", "gauge", ("a.b", {}, 1.0))])
    assert text_of(Renderer(TEXT, "underscores", taken={"a_b"}), snapshot) == b""
    assert text_of(Renderer(TEXT, "allow-utf-8", taken={"a_b"}), snapshot)
