import gc
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.multiproc import dbfile
from exporter.multiproc.dbfile import DbFile, Found, fingerprint, is_set_up, read_once
from exporter.multiproc.dbformat import Shape, Shapes
from exporter.multiproc.faults import BadFileError
from tests.support.files import counter, gauge, raw_entry, raw_file, write

MAX_SIZE = 2**20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "counter_1.db"


def identity(path: Path) -> tuple[int, int]:
    info = path.lstat()
    return info.st_dev, info.st_ino


def opened(
    path: Path, *, stamped: bool = False, max_size: int = MAX_SIZE, shapes: Shapes | None = None
) -> DbFile:
    return DbFile(str(path), identity(path), shapes or Shapes(stamped=stamped), max_size=max_size)


def refusal(file: DbFile) -> str:
    """Return why a file is refused; it keeps what it has then."""
    before = file.shape, file.cells, file.cells.copy()
    with pytest.raises(BadFileError) as caught:
        file.read()
    assert (file.shape, file.cells, file.cells.copy()) == before
    return caught.value.fault.reason


def keys(file: DbFile) -> list[bytes]:
    return list(file.keys())


def overwrite(path: Path, data: bytes) -> None:
    """Write into the file itself, and make sure that its mtime tells."""
    mtime = path.stat().st_mtime_ns
    with path.open("r+b") as file:
        file.write(data)
        file.truncate()
    os.utime(path, ns=(mtime + 10**9, mtime + 10**9))


def age(path: Path) -> None:
    """Let a file's last change lie back so far that the next one moves its mtime."""
    os.utime(path, (1e9, 1e9))


def test_layout(path: Path) -> None:
    texts = [counter("a"), counter("b", label="ü"), counter("c" * 300)]
    write(path, {key: index + 0.5 for index, key in enumerate(texts)})
    file = opened(path)
    assert file.read() is Found.ANOTHER
    assert file.cells == [0.5, 1.5, 2.5]
    assert [key.decode() for key in keys(file)] == texts
    assert file.shape.used == struct.unpack("=i", path.read_bytes()[:4])[0] < path.stat().st_size


@pytest.mark.parametrize("length", range(1, 18))
def test_values_are_aligned_after_keys_of_any_length(path: Path, length: int) -> None:
    write(path, {"x" * length: 1.0, "y" * length: 2.0})
    file = opened(path)
    file.read()
    assert file.cells == [1.0, 2.0]
    assert keys(file) == [b"x" * length, b"y" * length]


def test_stamps_are_read_where_they_matter(path: Path) -> None:
    write(path, {gauge("a"): (1.0, 100.0), gauge("b"): (2.0, 200.0)})
    file = opened(path, stamped=True)
    file.read()
    assert file.cells == [(1.0, 100.0), (2.0, 200.0)]


def test_unchanged_file_is_not_unpacked_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, {counter("a"): 1.0})
    file = opened(path)
    file.read()
    monkeypatch.delattr(Shape, "cells")
    assert file.read() is Found.NOTHING
    assert file.cells == [1.0]


def test_new_values_without_new_keys(path: Path) -> None:
    write(path, {counter("a"): 1.0, counter("b"): 1.0})
    file = opened(path)
    file.read()
    shape = file.shape
    for value in (2.0, 3.0, 4.0):
        write(path, {counter("b"): value})
        assert file.read() is Found.NUMBERS
        assert file.cells == [1.0, value]
    assert file.shape is shape


def test_growth_brings_only_the_new_keys(path: Path) -> None:
    write(path, {counter("a"): 1.0})
    file = opened(path)
    file.read()
    cells = file.cells
    write(path, {counter("a"): 5.0, counter("b"): 2.0})
    assert file.read() is Found.GROWTH
    assert file.cells == [5.0, 2.0]
    assert file.cells is cells
    assert list(file.keys(1)) == [counter("b").encode()]


def test_growth_past_the_preallocated_size(path: Path) -> None:
    write(path, {counter("a"): 1.0})
    file = opened(path)
    file.read()
    write(path, {counter("a", number=f"{number:01000}"): float(number) for number in range(100)})
    assert path.stat().st_size == 2 * 2**16
    assert file.read() is Found.GROWTH
    assert file.cells == [1.0, *map(float, range(100))]


@pytest.mark.parametrize("stamped", [False, True])
def test_changes_tell_which_cells_may_be_others(path: Path, *, stamped: bool) -> None:
    numbers = {counter("a", number=str(number)): (float(number), 1.0) for number in range(200)}
    write(path, numbers)
    file = opened(path, stamped=stamped)
    file.read()
    assert [cell for cells in file.changes for cell in file.cells[cells]] == file.cells
    for number in (0, 63, 64, 127, 199):
        before = file.cells.copy()
        write(path, {counter("a", number=str(number)): (-1.0, 2.0)})
        assert file.read() is Found.NUMBERS
        (cells,) = file.changes
        changed = range(len(file.cells))[cells]
        assert number in changed
        assert len(changed) < len(file.cells)
        assert file.cells[number] == ((-1.0, 2.0) if stamped else -1.0)
        assert all(file.cells[at] == before[at] for at in range(len(before)) if at not in changed)


def test_growth_changes_only_the_blocks_that_are_others(path: Path) -> None:
    write(path, {counter("a", number=str(number)): float(number) for number in range(200)})
    file = opened(path)
    file.read()
    write(path, {counter("a", number="80"): -1.0, counter("b"): 7.0})
    assert file.read() is Found.GROWTH
    changed = {at for cells in file.changes for at in range(len(file.cells))[cells]}
    assert changed == {*range(64, 128), *range(192, 201)}
    assert (file.cells[80], file.cells[200]) == (-1.0, 7.0)


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
        texts = list(numbers)
        numbers |= {texts[at % len(texts)]: (value, value) for at, value in writes.items()}
        write(scratch_file, numbers)
        file.read()
        assert file.cells == [pair if stamped else pair[0] for pair in numbers.values()]
        assert [key.decode() for key in keys(file)] == list(numbers)
    file.close()


def test_a_half_written_entry_is_not_in_use_yet(path: Path) -> None:
    path.write_bytes(raw_file(raw_entry(b"a"), raw_entry(b"b"), used=8 + len(raw_entry(b"a"))))
    file = opened(path)
    file.read()
    assert keys(file) == [b"a"]


def test_rewrite_in_place_with_other_keys_is_another_file(path: Path) -> None:
    path.write_bytes(raw_file(raw_entry(b"aa", 1.0), raw_entry(b"bb", 2.0)))
    file = opened(path)
    file.read()
    cells = file.cells
    overwrite(path, raw_file(raw_entry(b"cc", 3.0), raw_entry(b"dd", 4.0)))
    assert file.read() is Found.ANOTHER
    assert keys(file) == [b"cc", b"dd"]
    assert file.cells == [3.0, 4.0]
    assert cells == [1.0, 2.0], "what it said last can be kept"


def test_rewrite_in_place_within_a_tick_of_the_clock_is_noticed(path: Path) -> None:
    path.write_bytes(raw_file(raw_entry(b"aa", 1.0), raw_entry(b"bb", 2.0)))
    file = opened(path)
    file.read()
    info = path.stat()
    overwrite(path, raw_file(raw_entry(b"cc", 3.0), raw_entry(b"dd", 4.0)))
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert file.read() is Found.ANOTHER


def test_keys_are_compared_only_where_the_mtime_moved(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, {counter("a"): 1.0})
    age(path)
    file = opened(path)
    file.read()
    for number in (2.0, 3.0, 4.0):
        path.write_bytes(raw_file(raw_entry(counter("a").encode(), number)))
        age(path)
        assert file.read() is Found.NUMBERS
        monkeypatch.setattr(Shape, "heads", lambda *_: pytest.fail("compared"))


def test_rewrite_in_place_to_fewer_entries_is_another_file(path: Path) -> None:
    path.write_bytes(raw_file(raw_entry(b"aa", 1.0), raw_entry(b"bb", 2.0)))
    file = opened(path)
    file.read()
    overwrite(path, raw_file(raw_entry(b"aa", 9.0)))
    assert file.read() is Found.ANOTHER
    assert keys(file) == [b"aa"]
    assert file.cells == [9.0]


def test_a_file_that_is_cut_short_for_a_while_is_the_same_one(path: Path) -> None:
    data = raw_file(raw_entry(b"aa", 1.0))
    path.write_bytes(data)
    file = opened(path)
    file.read()
    overwrite(path, data[:20])
    assert refusal(file) == "truncated"
    overwrite(path, data)
    assert file.read() is Found.NOTHING
    overwrite(path, data[:20])
    assert refusal(file) == "truncated"
    overwrite(path, raw_file(raw_entry(b"aa", 2.0), raw_entry(b"bb", 1.0)))
    assert file.read() is Found.GROWTH
    assert file.cells == [2.0, 1.0]


def test_a_file_that_is_read_once_is_read_as_any_other(path: Path) -> None:
    write(path, {counter("a"): 1.0, counter("b"): 2.0})
    shapes = Shapes(stamped=False)
    found = read_once(str(path), identity(path), shapes, max_size=MAX_SIZE)
    file = opened(path, shapes=shapes)
    file.read()
    assert file.shape is found.shape
    assert (list(found.keys()), found.cells()) == (keys(file), file.cells)


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
    assert file.cells == []
    write(path, {counter("a"): 1.0})
    file.read()
    assert file.cells == [1.0]


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


def test_a_look_tells_whether_a_file_changed(path: Path) -> None:
    path.write_bytes(raw_file(raw_entry(b"bad", length=-1)))
    assert fingerprint(str(path), identity(path)) is None, "another change may leave the same mtime"
    age(path)
    seen = fingerprint(str(path), identity(path))
    assert seen is not None
    assert fingerprint(str(path), identity(path)) == seen
    with path.open("r+b") as file:
        file.write(b"x")
    assert fingerprint(str(path), identity(path)) != seen
    with pytest.raises(FileNotFoundError):
        fingerprint(str(path), (0, 0))


def test_a_file_that_cannot_be_looked_at_tells_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, {counter("a"): 1.0})
    who = identity(path)
    for call in ("open", "pread"):
        with monkeypatch.context() as context:
            context.setattr(os, call, refuse)
            assert fingerprint(str(path), who) is None
            assert not is_set_up(str(path))


def test_a_file_is_set_up_once_it_says_how_much_is_in_use(path: Path) -> None:
    assert not is_set_up(str(path))
    for data, expected in ((b"", False), (bytes(2**16), False), (raw_file(), True)):
        path.write_bytes(data)
        assert is_set_up(str(path)) is expected


def refuse(*_: object) -> int:
    raise PermissionError(13, "Permission denied")


def test_a_file_set_up_after_the_first_look_is_read(path: Path) -> None:
    path.write_bytes(bytes(2**16))
    file = opened(path)
    assert refusal(file) == "empty"
    write(path, {counter("a"): 1.0})
    file.read()
    assert file.cells == [1.0]


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
    assert file.read() is Found.NOTHING
    assert file.cells == [1.0]


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
    assert file.cells == [1.0]
    other = DbFile(str(path), (0, 0), Shapes(stamped=False), max_size=MAX_SIZE)
    with pytest.raises(FileNotFoundError):
        other.read()
    file = DbFile(str(path), identity(path), Shapes(stamped=False), max_size=MAX_SIZE, stays_open=False)
    for value in (1.0, 2.0):
        write(path, {counter("a"): value})
        file.read()
        assert file.cells == [value]
        assert len(descriptors()) == len(before)
    read_once(str(path), identity(path), Shapes(stamped=False), max_size=MAX_SIZE)
    with pytest.raises(FileNotFoundError):
        read_once(str(path), (0, 0), Shapes(stamped=False), max_size=MAX_SIZE)
    assert len(descriptors()) == len(before)


def test_unreadable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, {counter("a"): 1.0})
    file = opened(path)
    with monkeypatch.context() as context:
        context.setattr(os, "open", refuse)
        with pytest.raises(BadFileError, match="cannot be read: Permission denied") as caught:
            file.read()
        assert caught.value.fault.reason == "unreadable"
    assert file.read()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_for_real(path: Path) -> None:
    write(path, {counter("a"): 1.0}).chmod(0)
    assert refusal(opened(path)) == "unreadable"


@pytest.fixture(scope="module")
def scratch_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch") / "counter_1.db"


@given(data=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(scratch_file: Path, data: bytes) -> None:
    scratch_file.write_bytes(data)
    file = opened(scratch_file)
    try:
        file.read()
    except BadFileError:
        assert file.cells == []
    else:
        assert len(file.cells) == len(keys(file))
    file.close()
