"""Which family may use a metric name: the first that needs it; when that one goes, the next."""

from collections.abc import Iterable

from exporter import model
from exporter.multiproc.faults import Fault
from exporter.multiproc.series import Family


class MetricNames:
    """The metric names in use by the families of all kinds, so that an exposition has none twice."""

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        """Begin with the `reserved` names in use: no family gets one of them."""
        self._users: dict[str, Family | None] = dict.fromkeys(reserved)
        self.refused: dict[Family, Fault] = {}
        """Families that must not be exported, as they need a name that another has; in order of arrival."""
        self.handovers = 0
        """How often a refused family got its names in the end."""

    def claim(self, family: Family) -> None:
        """Give a family its names, or refuse the family if one of the names is in use."""
        taken = [name for name in _names(family) if name in self._users]
        if taken:
            self.refused[family] = _conflict(family, taken[0], self._users[taken[0]])
        else:
            self._users.update(dict.fromkeys(_names(family), family))
            self.handovers += self.refused.pop(family, None) is not None

    def release(self, family: Family) -> None:
        """Free the names of a family that goes, and give them to refused families that need them."""
        if self.refused.pop(family, None) is None:
            for name in _names(family):
                del self._users[name]
            for other in list(self.refused):
                self.claim(other)


def _names(family: Family) -> list[str]:
    return sorted(model.names(family.name, family.type))


def _conflict(family: Family, name: str, user: Family | None) -> Fault:
    if user is not None and user.name == family.name:
        reason = "type_conflict" if user.type != family.type else "mode_conflict"
        return Fault(reason, f"{name!r} is in {family.kind} and {user.kind} files")
    owner = f"the {user.type} {user.name!r}" if user else "the exporter itself"
    return Fault("name_conflict", f"{family.name!r} would use the name {name!r} of {owner}")
