import errno
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import pytest

from exporter.discovery import rooted
from tests.support.waiting import eventually


@pytest.fixture(params=["openat2", "component by component"])
def opens(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run a test with the kernel's resolution, and with ours in its place."""
    if request.param == "openat2":
        yield "openat2"
        return
    refused = OSError(errno.ENOSYS, "no such call")
    with patch.object(rooted, "_open_in_root", side_effect=refused):
        yield "component by component"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make a container's root with a directory `run/metrics`."""
    (tmp_path / "root" / "run" / "metrics").mkdir(parents=True)
    (tmp_path / "outside" / "metrics").mkdir(parents=True)
    return tmp_path / "root"


def identity_of(root: Path, path: str) -> tuple[int, int]:
    descriptor = rooted.open_directory(str(root), path)
    try:
        info = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return info.st_dev, info.st_ino


def identity(path: Path) -> tuple[int, int]:
    info = path.stat()
    return info.st_dev, info.st_ino


@pytest.mark.usefixtures("opens")
def test_a_path_is_one_inside_the_root(root: Path) -> None:
    assert identity_of(root, "/run/metrics") == identity(root / "run" / "metrics")
    assert identity_of(root, "/") == identity(root)


def test_an_absolute_link_is_resolved_inside_the_root_or_refused(root: Path, opens: str) -> None:
    (root / "link").symlink_to("/run/metrics")
    if opens == "openat2":
        assert identity_of(root, "/link") == identity(root / "run" / "metrics")
    else:
        with pytest.raises(OSError, match="link"):
            identity_of(root, "/link")


@pytest.mark.usefixtures("opens")
@pytest.mark.parametrize(
    "target", ["{outside}", "../outside", "../../../../../{outside}", "/proc/self/root{outside}"]
)
def test_no_link_leads_out(root: Path, target: str) -> None:
    outside = root.parent / "outside"
    (root / "link").symlink_to(target.format(outside=outside))
    with pytest.raises(OSError, match="link"):
        identity_of(root, "/link/metrics")


@pytest.mark.usefixtures("opens")
def test_no_parent_leads_out(root: Path) -> None:
    (root / "run" / "outside").mkdir()
    with pytest.raises(OSError, match="outside"):
        identity_of(root, "/../outside/metrics")


@pytest.mark.usefixtures("opens")
def test_a_pipe_in_a_directorys_place_is_refused_at_once(root: Path) -> None:
    os.mkfifo(root / "pipe")
    with pytest.raises(NotADirectoryError):
        identity_of(root, "/pipe")


@pytest.mark.usefixtures("opens")
def test_no_descriptor_is_left_open(root: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a number
    for path in ("/run/metrics", "/nowhere", "/run/../.."):
        try:
            identity_of(root, path)
        except OSError:
            continue
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - a number


def test_a_directory_made_anew_has_another_birth(root: Path) -> None:
    def birth() -> int:
        descriptor = rooted.open_directory(str(root), "/run/metrics")
        try:
            return rooted.birth(descriptor)
        finally:
            os.close(descriptor)

    def made_anew() -> int:
        (root / "run" / "metrics").rmdir()
        (root / "run" / "metrics").mkdir()
        return birth()

    first = birth()
    assert abs(first / 1e9 - time.time()) < 60
    eventually(lambda: made_anew() > first, "a birth in another tick of the clock")


def test_what_is_not_open_has_no_birth() -> None:
    assert rooted.birth(-1) == 0


@pytest.mark.usefixtures("opens")
def test_the_beginning_of_a_file_inside_the_root(root: Path) -> None:
    (root / "run" / "name").write_bytes(b"x" * 5000)
    assert rooted.read_beginning(str(root), "/run/name") == b"x" * 1024


@pytest.mark.usefixtures("opens")
def test_only_regular_files_are_read_and_none_outside(root: Path) -> None:
    os.mkfifo(root / "pipe")
    (root.parent / "outside" / "secret").write_text("secret")
    (root / "link").symlink_to(root.parent / "outside" / "secret")
    (root / "up").symlink_to("../outside/secret")
    for path in ("/pipe", "/run", "/link", "/up", "/nowhere"):
        with pytest.raises(OSError, match=path.lstrip("/")):
            rooted.read_beginning(str(root), path)


@pytest.mark.usefixtures("opens")
def test_a_link_that_is_swapped_in_meanwhile_never_leads_out(root: Path) -> None:
    """A container may turn its directory into a link at any time, also between two steps of ours."""
    place, moved, link = root / "run" / "metrics", root / "run" / "moved", root / "run" / "link"
    outside = identity(root.parent / "outside")
    link.symlink_to("../../outside")
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            place.rename(moved)
            link.rename(place)
            place.rename(link)
            moved.rename(place)

    swapping = threading.Thread(target=swap)
    swapping.start()
    found = set()
    try:
        for _ in range(3000):
            with suppress(OSError):
                found.add(identity_of(root, "/run/metrics"))
    finally:
        done.set()
        swapping.join()
    assert identity(place) in found
    assert outside not in found
