"""Who may use which metric name: the first family that needs it, until it goes. Then the next one has it."""

from collections.abc import Iterable

from exporter import model
from exporter.multiproc.faults import Fault
from exporter.multiproc.series import Family


class Names:
    """The names of all families of an exposition. No name is used twice, whatever kinds of files say."""

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        """Leave the `reserved` names to others."""
        self._users: dict[str, Family | None] = dict.fromkeys(reserved)
        self.refused: dict[Family, Fault] = {}
        """Families that must not be exported, for they need a name of another; in order of arrival."""
        self.handovers = 0
        """How often a family got names that it had waited for."""

    def claim(self, family: Family) -> None:
        """Give a family its names, unless one is another's."""
        taken = [name for name in _names(family) if name in self._users]
        if taken:
            self.refused[family] = _conflict(family, taken[0], self._users[taken[0]])
        else:
            self._users.update(dict.fromkeys(_names(family), family))
            self.handovers += self.refused.pop(family, None) is not None

    def release(self, family: Family) -> None:
        """Take the names of a family that goes; those that waited for them have them."""
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
