"""Why no worker is found on a port, why processes may not be looked into, and the way out: one line each."""

from collections.abc import Callable, Mapping

from exporter.discovery.finder import Finder
from exporter.discovery.parsing import flattened
from exporter.discovery.servers import Process

_PTRACE, _READ_SEARCH = 1 << 19, 1 << 2  # CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH
_CAPABILITIES = "CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"
HIDDEN = (
    "/proc hides the processes of other users from the exporter (hidepid; systemd: ProtectProc=): "
    f"have it show them, or run as root, or with {_CAPABILITIES}"
)
_OR_DIRECTORY = "or set --multiproc-dir"


def why_not_found(port: int, finder: Finder, own: Process, user_name: Callable[[int], str]) -> str:
    """Return why no worker is found that listens on `port` of our network namespace.

    `own` is the process that looks. `user_name` returns the name of a user's number.
    """
    found = finder.findings
    sockets = finder.listening(port)
    if not sockets and found.is_alone:
        return (
            f"no process listens on port {port}, and only the exporter's own processes can be seen: "
            f"share the worker's pid namespace, {_OR_DIRECTORY}"
        )
    if not sockets:
        return f"no process listens on port {port}"
    holder = finder.holder(sockets)
    if holder is None:
        uid = next(iter(sockets.values())).uid
        return _denied(port, _suspect(port, uid, finder.processes), uid, own, user_name)
    if found.unreadable:
        path, reason = next(iter(found.unreadable.items()))
        return f"process {holder} listens on port {port}, but {path} cannot be opened: {reason}"
    return (
        f"process {holder} listens on port {port}, but neither it nor its children have a metrics file open: "
        "is --enable-metrics given?"
    )


def way_in(capabilities: int) -> str:
    """Return how an exporter with these capabilities may look into the processes that are closed to it."""
    if _may_look_into_others(capabilities):
        return "they are in another user namespace, or protected, as by AppArmor or SELinux"
    return f"run as root, or with {_CAPABILITIES}"


def _may_look_into_others(capabilities: int) -> bool:
    return capabilities & (_PTRACE | _READ_SEARCH) == _PTRACE | _READ_SEARCH


def _denied(
    port: int, suspect: Process | None, uid: int, own: Process, user_name: Callable[[int], str]
) -> str:
    """Say that the process that listens may not be looked into, and which of the reasons for that it has."""
    who = f"process {suspect.pid}" if suspect else "the process"
    said = f"cannot look into {who} of user {user_name(uid)}, which listens on port {port}"
    if _may_look_into_others(own.capabilities):
        return f"{said}: it may be in another user namespace, or protected; {_OR_DIRECTORY[3:]}"
    if own.uid != uid:
        return f"{said}: run as that user, or with {_CAPABILITIES}, {_OR_DIRECTORY}"
    if suspect and suspect.capabilities & ~own.capabilities:
        return (
            f"{said}: it has capabilities that the exporter lacks; run with {_CAPABILITIES}, {_OR_DIRECTORY}"
        )
    return f"{said}: it is not dumpable; run with {_CAPABILITIES}, {_OR_DIRECTORY}"


def _suspect(port: int, uid: int, processes: Mapping[int, Process]) -> Process | None:
    """Return the process of that user whose command line names the port, which everybody may read."""
    text = str(port)
    named = (
        one
        for one in processes.values()
        if one.uid == uid
        and any(text in word.replace("=", ":").split(":") for word in flattened(one.command))
    )
    return min(named, key=lambda one: one.pid, default=None)
