"""The worker's directory is removed, replaced, made a link or unreadable, and comes back."""

import shutil
from collections.abc import Callable
from pathlib import Path

from benchmarks.directories import workspace
from soak.exporter import exporter
from soak.parts import Part
from soak.samples import of_stock
from soak.worker import living, make_directory
from tests.support.files import counter, write

_SOON = 2.0
"""Seconds within which a directory must be served: one, and one more for a busy machine."""


def directory(part: Part) -> None:
    """Take the directory away in several ways, and bring it back, or put another in its place."""
    names = part.promise("a file of any name that stock reads is read")
    gone = part.promise("while no directory can be read, own metrics are served, with smg_exporter_up 0")
    back = part.promise("once one can be read again, all samples equal stock's")
    soon = part.promise("a directory that is back is served within 1 s (2 on a busy machine)")
    longest = 0.0
    with workspace() as room, living(3) as pids:
        path = make_directory(room / "worker", part.chance, pids)
        write(path / "counter_rust-5027.db", {counter("soak_rust"): 1.0})
        with exporter(part, path, program=("-m", "soak.unprivileged")) as subject:
            subject.settles(names, of_stock(path.iterdir()), "counter_rust-5027.db")
            fates = ["replaced"]  # first, to get rid of the file above: later directories do not have it
            for number in part.rounds(least=1 + len(_FATES)):
                fates = fates or part.chance.sample(list(_FATES), len(_FATES))
                fate = fates.pop()
                other = make_directory(room / f"worker-{number}", part.chance, pids)
                subject.start_anew()
                _FATES[fate](path)
                if fate != "replaced":
                    subject.says(gone, "smg_exporter_up", 0.0, f"round {number}, {fate}")
                _bring_back(path, other, link=part.chance.random() < 0.5)
                took = subject.settles(back, of_stock(path.iterdir()), f"round {number}, {fate} and back")
                longest = max(longest, took)
                part.done["times taken away"] += 1
                if number == 2:
                    subject.note_resources()
            soon.at_most(longest, _SOON, f"{longest:.1f} s at most")
            subject.check_resources()


def _aside(path: Path) -> Path:
    return path.with_suffix(".aside")


def _remove(path: Path) -> None:
    shutil.rmtree(path.resolve())
    if path.is_symlink():
        path.unlink()


def _replace_by_file(path: Path) -> None:
    _remove(path)
    path.touch()


def _replace_by_dead_link(path: Path) -> None:
    _remove(path)
    path.symlink_to("nowhere")


_FATES: dict[str, Callable[[Path], object]] = {
    "made unreadable": lambda path: path.chmod(0),
    "moved away": lambda path: path.rename(_aside(path)),
    "removed": _remove,
    "replaced by a file": _replace_by_file,
    "replaced by a dead link": _replace_by_dead_link,
    "replaced": _remove,  # `_bring_back` follows at once
}


def _bring_back(path: Path, other: Path, *, link: bool) -> None:
    """Undo a chmod or a move; else put the directory `other` in place, or a link to it."""
    if path.is_dir():
        path.chmod(0o755)
    elif _aside(path).exists():
        _aside(path).rename(path)
    else:
        path.unlink(missing_ok=True)
        if link:
            path.symlink_to(other)
        else:
            other.rename(path)
        return
    shutil.rmtree(other)
