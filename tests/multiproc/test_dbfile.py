import gc
import os
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.multiproc import dbfile
from exporter.multiproc.dbfile import UNREAD, BadFileError, BadKeyError, DbFile, Key, parse_key
from tests.support.files import counter, gauge, raw_entry, raw_file, write

MAX_SIZE = 2**20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "counter_1.db"


def opened(path: Path, *, stamped: bool = False, max_size: int = MAX_SIZE) -> DbFile:
    info = path.lstat()
    return DbFile(str(path), (info.st_dev, info.st_ino), stamped=stamped, max_size=max_size)


def refusal(file: DbFile) -> str:
    """Return why a file is refused; it holds no values then."""
    with pytest.raises(BadFileError) as caught:
        file.read()
    assert file.values == UNREAD
    assert file.take_new_keys() == []
    return caught.value.reason


def overwrite(path: Path, data: bytes) -> None:
    """Write into the file itself, and make sure that its mtime tells."""
    mtime = path.stat().st_mtime_ns
    with path.open("r+b") as file:
        file.write(data)
        file.truncate()
    os.utime(path, ns=(mtime + 10**9, mtime + 10**9))


def test_layout(path: Path) -> None:
    keys = [counter("a"), counter("b", label="ü"), counter("c" * 300)]
    write(path, {key: index + 0.5 for index, key in enumerate(keys)})
    file = opened(path)
    assert file.read()
    assert file.values == [0.5, 1.5, 2.5]
    assert [key.decode() for key in file.take_new_keys()] == keys
    assert file.used == struct.unpack("=i", path.read_bytes()[:4])[0] < path.stat().st_size


@pytest.mark.parametrize("length", range(1, 18))
def test_values_are_aligned_after_keys_of_any_length(path: Path, length: int) -> None:
    write(path, {"x" * length: 1.0, "y" * length: 2.0})
    file = opened(path)
    file.read()
    assert file.values == [1.0, 2.0]
    assert file.take_new_keys() == [b"x" * length, b"y" * length]


def test_stamps_are_read_where_they_matter(path: Path) -> None:
    write(path, {gauge("a"): (1.0, 100.0), gauge("b"): (2.0, 200.0)})
    file = opened(path, stamped=True)
    file.read()
    assert file.values == [1.0, 100.0, 2.0, 200.0]


def test_unchanged_file_is_not_unpacked_again(path: Path) -> None:
    write(path, {counter("a"): 1.0})
    file = opened(path)
    assert file.read()
    values = file.values
    assert not file.read()
    assert file.values is values


def test_new_values_without_new_keys(path: Path) -> None:
    write(path, {counter("a"): 1.0, counter("b"): 1.0})
    file = opened(path)
    file.read()
    file.take_new_keys()
    for value in (2.0, 3.0, 4.0):
        write(path, {counter("b"): value})
        assert file.read()
        assert file.values == [1.0, value]
    assert file.take_new_keys() == []
    assert file.restarts == 0


def test_growth_brings_only_the_new_keys(path: Path) -> None:
    write(path, {counter("a"): 1.0})
    file = opened(path)
    file.read()
    file.take_new_keys()
    write(path, {counter("a"): 5.0, counter("b"): 2.0})
    assert file.read()
    assert file.values == [5.0, 2.0]
    assert file.take_new_keys() == [counter("b").encode()]
    assert file.restarts == 0


def test_growth_past_the_preallocated_size(path: Path) -> None:
    write(path, {counter("a"): 1.0})
    file = opened(path)
    file.read()
    write(path, {counter("a", number=f"{number:01000}"): float(number) for number in range(100)})
    assert path.stat().st_size == 2 * 2**16
    file.read()
    assert file.values == [1.0, *map(float, range(100))]


@pytest.mark.parametrize("stamped", [False, True])
def test_changes_tell_which_values_may_be_others(path: Path, *, stamped: bool) -> None:
    numbers = {counter("a", number=str(number)): (float(number), 1.0) for number in range(100)}
    write(path, numbers)
    file = opened(path, stamped=stamped)
    file.read()
    assert file.values[file.changes[0]] == file.values
    for number in (0, 31, 32, 63, 99):
        before = file.values.copy()
        write(path, {counter("a", number=str(number)): (-1.0, 2.0)})
        assert file.read()
        (places,) = file.changes
        changed = range(len(file.values))[places]
        assert number * (1 + stamped) in changed
        assert len(changed) < len(file.values)
        assert file.values[number * (1 + stamped)] == -1.0
        assert all(file.values[at] == before[at] for at in range(len(before)) if at not in changed)


@given(
    rounds=st.lists(
        st.tuples(st.integers(0, 40), st.dictionaries(st.integers(0, 150), st.floats(allow_nan=False)))
    ),
    stamped=st.booleans(),
)
def test_values_are_those_of_the_file_however_it_grows(
    scratch_file: Path, rounds: list[tuple[int, dict[int, float]]], *, stamped: bool
) -> None:
    scratch_file.unlink(missing_ok=True)
    numbers = {counter("a", number="0"): (0.5, 7.0)}
    write(scratch_file, numbers)
    file = opened(scratch_file, stamped=stamped)
    file.read()
    for more, writes in rounds:
        numbers |= {
            counter("a", number=str(number)): (0.5, 7.0)
            for number in range(len(numbers), len(numbers) + more)
        }
        keys = list(numbers)
        numbers |= {keys[at % len(keys)]: (value, value) for at, value in writes.items()}
        write(scratch_file, numbers)
        file.read()
        expected = [number for pair in numbers.values() for number in (pair if stamped else pair[:1])]
        assert file.values == expected
    file.close()


def test_a_half_written_entry_is_not_in_use_yet(path: Path) -> None:
    path.write_bytes(raw_file(raw_entry(b"a"), raw_entry(b"b"), used=8 + len(raw_entry(b"a"))))
    file = opened(path)
    file.read()
    assert file.take_new_keys() == [b"a"]


def test_rewrite_in_place_with_other_keys_starts_anew(path: Path) -> None:
    path.write_bytes(raw_file(raw_entry(b"aa", 1.0), raw_entry(b"bb", 2.0)))
    file = opened(path)
    file.read()
    file.take_new_keys()
    overwrite(path, raw_file(raw_entry(b"cc", 3.0), raw_entry(b"dd", 4.0)))
    assert file.read()
    assert file.restarts == 1
    assert file.take_new_keys() == [b"cc", b"dd"]
    assert file.values == [3.0, 4.0]


def test_rewrite_in_place_to_fewer_entries_starts_anew(path: Path) -> None:
    path.write_bytes(raw_file(raw_entry(b"aa", 1.0), raw_entry(b"bb", 2.0)))
    file = opened(path)
    file.read()
    file.take_new_keys()
    overwrite(path, raw_file(raw_entry(b"aa", 9.0)))
    assert file.read()
    assert file.restarts == 1
    assert file.take_new_keys() == [b"aa"]
    assert file.values == [9.0]


def test_truncation_is_refused_and_counts_as_a_restart(path: Path) -> None:
    data = raw_file(raw_entry(b"aa", 1.0))
    path.write_bytes(data)
    file = opened(path)
    file.read()
    file.take_new_keys()
    overwrite(path, data[:20])
    assert refusal(file) == "truncated"
    assert file.restarts == 1
    overwrite(path, data)
    assert file.read()
    assert file.take_new_keys() == [b"aa"]
    assert file.values == [1.0]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", "empty", id="no byte"),
        pytest.param(bytes(8), "empty", id="no header yet"),
        pytest.param(bytes(2**16), "empty", id="preallocated, no header yet"),
        pytest.param(b"abc", "truncated", id="3 bytes"),
        pytest.param(raw_file(used=2**31 - 1), "truncated", id="says 2 GB"),
        pytest.param(raw_file(raw_entry(b"key"))[:30], "truncated", id="cut short"),
        pytest.param(raw_file(used=-1), "corrupt", id="says -1"),
        pytest.param(raw_file(used=-(2**31)), "corrupt", id="says -2 GB"),
        pytest.param(raw_file(used=7), "corrupt", id="less than the header"),
        pytest.param(raw_file(used=10), "corrupt", id="ends in a length"),
        pytest.param(raw_file(raw_entry(b"key"), used=8 + 20), "corrupt", id="ends in an entry"),
        pytest.param(raw_file(raw_entry(b"key"), used=16), "corrupt", id="ends in a key"),
    ],
)
def test_refused(path: Path, data: bytes, reason: str) -> None:
    path.write_bytes(data)
    assert refusal(opened(path)) == reason


def test_header_alone_is_a_file_without_entries(path: Path) -> None:
    path.write_bytes(raw_file())
    file = opened(path)
    file.read()
    assert file.values == []


@pytest.mark.parametrize("length", [0, -1, *range(-28, -20), -(2**31), 2**31 - 1, 1000])
@pytest.mark.parametrize("before", [0, 1])
def test_key_lengths_that_lie(path: Path, length: int, before: int) -> None:
    good = [raw_entry(b"good")] * before
    path.write_bytes(raw_file(*good, raw_entry(b"bad", length=length), raw_entry(b"next")))
    file = opened(path)
    assert refusal(file) == "corrupt"
    with pytest.raises(BadFileError, match=f"key length of {length} at byte {8 + sum(map(len, good))}"):
        file.read()


def test_sparse_terabyte_is_refused_unread(path: Path) -> None:
    path.write_bytes(raw_file(used=2**31 - 1))
    os.truncate(path, 2**40)
    assert refusal(opened(path)) == "too_large"


def test_the_size_allowed_is_allowed(path: Path) -> None:
    path.write_bytes(raw_file(raw_entry(b"key")))
    size = path.stat().st_size
    assert opened(path, max_size=size).read()
    assert refusal(opened(path, max_size=size - 1)) == "too_large"


def test_header_that_claims_more_than_there_is_costs_no_memory(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(raw_file(used=2**31 - 1))
    sizes: list[int] = []

    class Counting(bytearray):
        def __init__(self, size: int = 0) -> None:
            sizes.append(size)
            super().__init__(size)

    monkeypatch.setattr(dbfile, "bytearray", Counting, raising=False)
    assert refusal(opened(path)) == "truncated"
    assert max(sizes, default=0) == 0


def test_a_refused_file_is_looked_at_again_only_when_it_changes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(raw_file(raw_entry(b"bad", length=-1)))
    file = opened(path)
    assert refusal(file) == "corrupt"
    walks: list[int] = []
    walk = dbfile._entries

    def noted(data: bytearray, position: int) -> Iterator[tuple[bytes, int]]:
        walks.append(position)
        return walk(data, position)

    monkeypatch.setattr(dbfile, "_entries", noted)
    assert refusal(file) == "corrupt"
    assert walks == []
    overwrite(path, raw_file(raw_entry(b"good")))
    assert file.read()
    assert len(walks) == 1
    assert file.values == [1.0]


def test_a_file_set_up_after_the_first_look_is_read(path: Path) -> None:
    path.write_bytes(bytes(2**16))
    file = opened(path)
    assert refusal(file) == "empty"
    write(path, {counter("a"): 1.0})
    file.read()
    assert file.values == [1.0]


def test_a_path_that_names_another_file_now(path: Path) -> None:
    write(path, {counter("a"): 1.0})
    file = opened(path)
    path.rename(path.with_name("other"))
    write(path, {counter("a"): 2.0})
    with pytest.raises(FileNotFoundError):
        file.read()
    path.unlink()
    with pytest.raises(FileNotFoundError):
        file.read()


def test_a_file_removed_after_it_was_opened_is_still_read(path: Path) -> None:
    write(path, {counter("a"): 1.0})
    file = opened(path)
    file.read()
    path.unlink()
    assert not file.read()
    assert file.values == [1.0]


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def make_directory(path: Path) -> None:
    path.mkdir()


def make_symlink(path: Path) -> None:
    target = write(path.with_name("target"), {counter("a"): 1.0})
    path.symlink_to(target)


@pytest.mark.parametrize("make", [make_fifo, make_socket, make_directory, make_symlink])
def test_no_regular_file_is_read_nor_hangs(
    tmp_path: Path, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    path = Path("x.db")
    make(path)
    with pytest.raises((FileNotFoundError, BadFileError)):
        opened(path).read()


def test_no_descriptor_is_left_open(path: Path) -> None:
    def descriptors() -> list[str]:
        return os.listdir("/proc/self/fd")  # noqa: PTH208 - names are all that is needed

    gc.collect()  # what other tests dropped must not be closed in between
    before = descriptors()
    write(path, {counter("a"): 1.0})
    file = opened(path)
    file.read()
    assert len(descriptors()) == len(before) + 1
    file.close()
    file.close()
    assert file.values == [1.0]
    other = DbFile(str(path), (0, 0), stamped=False, max_size=MAX_SIZE)
    with pytest.raises(FileNotFoundError):
        other.read()
    assert len(descriptors()) == len(before)


def test_unreadable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, {counter("a"): 1.0})
    file = opened(path)

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as context:
        context.setattr(os, "open", refuse)
        with pytest.raises(BadFileError, match="cannot be read: Permission denied") as caught:
            file.read()
        assert caught.value.reason == "unreadable"
    assert file.read()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_for_real(path: Path) -> None:
    write(path, {counter("a"): 1.0}).chmod(0)
    assert refusal(opened(path)) == "unreadable"


@pytest.fixture(scope="module")
def scratch_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch") / "counter_1.db"


lengths = st.one_of(st.integers(-40, 40), st.integers(-(2**31), 2**31 - 1))


@given(lies=st.lists(st.tuples(st.binary(max_size=20), lengths), max_size=6), used=st.none() | lengths)
def test_walks_end_whatever_the_lengths_say(lies: list[tuple[bytes, int]], used: int | None) -> None:
    data = bytearray(raw_file(*(raw_entry(key, length=length) for key, length in lies), used=used))
    data = data[: max(0, min(len(data), struct.unpack_from("=i", data)[0]))]
    walk = dbfile._entries(data, 8)
    steps = 0
    try:
        for key, skip in walk:
            steps += 1
            assert 0 < len(key) < skip
            assert (skip + 16) % 8 == 0
    except BadFileError as error:
        assert error.reason == "corrupt"  # noqa: PT017 - not raising is right too
    assert steps <= len(data) // 24


@given(data=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(scratch_file: Path, data: bytes) -> None:
    scratch_file.write_bytes(data)
    file = opened(scratch_file)
    try:
        file.read()
    except BadFileError:
        assert file.values == UNREAD
    else:
        assert len(file.values) == len(file.take_new_keys())
    file.close()


def test_parse_key() -> None:
    key = b'["a:b", "a:b_total", {"x": "\\u00fc", "y": ""}, "Help."]'
    assert parse_key(key) == Key("a:b", "a:b_total", {"x": "ü", "y": ""}, "Help.")


@pytest.mark.parametrize(
    "key",
    [
        b"\xff\xfe",
        b"no json",
        b"",
        b"null",
        b"3",
        b'"text"',
        b"{}",
        b"[]",
        b'["a", "a", {}]',
        b'["a", "a", {}, "h", 1]',
        b'["a", "a", [], "h"]',
        b'["a", "a", null, "h"]',
        b'["a", "a", "x", "h"]',
        b'["a", 1, {}, "h"]',
        b'[null, "a", {}, "h"]',
        b'["a", "a", {}, null]',
        b'["a", "a", {"x": 1}, "h"]',
        b'["a", "a", {"x": {}}, "h"]',
        b'["", "", {}, "h"]',
        b'["a", "", {}, "h"]',
        b'["a", "a", {"": "x"}, "h"]',
        b'["a", "a", {"x": "\\ud800"}, "h"]',
        b"[" * 100_000,
    ],
)
def test_keys_of_the_wrong_shape(key: bytes) -> None:
    with pytest.raises(BadKeyError) as caught:
        parse_key(key)
    assert caught.value.reason == "bad_key"
    assert "\n" not in str(caught.value)
