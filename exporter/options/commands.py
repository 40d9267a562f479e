"""The table of commands: what each does, its options, and the function that runs it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from exporter.options.demo import DemoOptions
from exporter.options.fleet import FleetOptions
from exporter.options.healthcheck import HealthcheckOptions
from exporter.options.node import NodeOptions
from exporter.options.option import Option, Options, described
from exporter.options.top import TopOptions
from exporter.options.worker import DumpOptions, ServeOptions, VerifyOptions

DEFAULT_COMMAND = "serve"

_USUAL = {"port": "listen_port", "host": "listen_host"}
"""Names that other programs use for an option -> our names, for hints."""


class Command(NamedTuple):
    """A command of the program."""

    meaning: str
    options: type[Options]
    function: str
    """`module:function`; takes the options, returns the exit code. Imported only to run, so that `--help` is fast."""
    examples: Sequence[str]
    """Example command lines, without the program's name."""
    operands: str = ""
    """The repeatable option that further words are values of; without one, they are errors."""
    is_daemon: bool = False
    """Whether it reloads on SIGHUP, by which other commands end."""


COMMANDS = {
    "serve": Command(
        "serve one worker's metrics (the default)",
        ServeOptions,
        "exporter.worker.serve:serve",
        ["--grpc-port 8001 --multiproc-dir /tmp/prom", "--config smg-exporter.toml"],
        is_daemon=True,
    ),
    "demo": Command(
        "run a simulated worker and its exporter",
        DemoOptions,
        "exporter.demo:run",
        ["demo", "demo --ranks 8"],
    ),
    "dump": Command(
        "print one exposition and exit",
        DumpOptions,
        "exporter.worker.dump:dump",
        ["dump --grpc-port 8001 --multiproc-dir /tmp/prom --format openmetrics"],
    ),
    "verify": Command(
        "compare our merge with prometheus_client's own, on live files",
        VerifyOptions,
        "exporter.worker.verify:verify",
        ["verify --multiproc-dir /tmp/prom --rounds 3"],
    ),
    "check": Command(
        "say what serve would do: settings, directory, port; exit code 1 if it could not serve",
        ServeOptions,
        "exporter.worker.check:check",
        ["check --config smg-exporter.toml"],
    ),
    "check fleet": Command(
        "say what fleet would do: settings, workers, port; exit code 1 if it could not serve",
        FleetOptions,
        "exporter.fleet.check:check",
        ["check fleet --workers-file workers.yaml"],
    ),
    "check node": Command(
        "say what node would do: workers found, port; exit code 1 if it could not serve every worker",
        NodeOptions,
        "exporter.node.check:check",
        ["check node --match sglang"],
    ),
    "fleet": Command(
        "serve the metrics of many workers in one answer",
        FleetOptions,
        "exporter.fleet.serve:serve",
        ["fleet --worker grpc://10.0.0.1:8001 --worker grpc://10.0.0.2:8001"],
        is_daemon=True,
    ),
    "node": Command(
        "serve every worker of this host, found by itself, in one answer",
        NodeOptions,
        "exporter.node.serve:serve",
        ["node", "node --match sglang --kubernetes-labels"],
        is_daemon=True,
    ),
    "healthcheck": Command(
        "ask the exporter on this machine whether it serves; exit code 0 if it does, else 1",
        HealthcheckOptions,
        "exporter.service.healthcheck:healthcheck",
        ["healthcheck --grpc-port 8001"],
    ),
    "top": Command(
        "show how engines are doing, live in the terminal, from any of their /metrics",
        TopOptions,
        "exporter.top.command:top",
        ["top", "top --grpc-port 8001", "top http://10.0.0.1:18001 http://10.0.0.2:18001"],
        operands="url",
    ),
}
ALL: Mapping[str, Option] = {
    name: each for command in COMMANDS.values() for name, each in described(command.options).items()
}
"""The options of all commands, by name."""


def no_such_option(name: str, spell: Callable[[str], str] = str, known: Iterable[str] = ALL) -> str:
    """Return the message for an unknown option: it suggests the nearest of `known`, as `spell` writes it."""
    bare = name.lstrip("-").replace("-", "_")
    near = [_USUAL[bare]] if bare in _USUAL else get_close_matches(bare, known, n=1)
    return f"no such option{f'; did you mean {spell(near[0])}?' if near else ''}"
