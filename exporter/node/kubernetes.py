"""What Kubernetes calls a worker's pod, read from its processes as the kernel shows them."""

from collections.abc import Mapping

from exporter.discovery.proc import Proc
from exporter.printable import printable

_NAMESPACE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
_LONGEST = 253
"""Characters of the longest name that Kubernetes allows."""


def labels_of(pid: int, proc: Proc) -> Mapping[str, str]:
    """Return the labels `pod`, `namespace` and `container_id` of a process, as far as they are known."""
    found = {
        "pod": proc.variable(pid, b"HOSTNAME"),
        "namespace": proc.text(pid, _NAMESPACE),
        "container_id": proc.container_id(pid),
    }
    return {name: printable(text.strip())[:_LONGEST] for name, text in found.items() if text.strip()}
