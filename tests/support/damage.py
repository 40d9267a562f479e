"""Random damage to the bytes of a good multiprocess file."""

import random
import struct
from collections.abc import Callable

Damage = Callable[[random.Random, bytearray], None]


def flip_bytes(chance: random.Random, data: bytearray) -> None:
    end = used(data)  # as it is before its own bytes are flipped
    for _ in range(chance.randint(1, 50)):
        data[chance.randrange(end)] = chance.randrange(256)


def lie_about_use(chance: random.Random, data: bytearray) -> None:
    struct.pack_into(
        "=i", data, 0, chance.choice([chance.randint(-100, 2 * len(data)), -(2**31), 2**31 - 1, 9, 1])
    )


def lie_about_a_key(chance: random.Random, data: bytearray) -> None:
    position = chance.choice(entry_positions(data))
    length = chance.choice([chance.randint(-40, 40), chance.randint(-(2**31), 2**31 - 1), -28, -24, -21, 0])
    struct.pack_into("=i", data, position, length)


def truncate(chance: random.Random, data: bytearray) -> None:
    del data[chance.randrange(used(data)) :]


def blank_a_part(chance: random.Random, data: bytearray) -> None:
    start = chance.randrange(used(data))
    end = min(len(data), start + chance.randint(1, 5000))
    data[start:end] = bytes(end - start)


def shift(chance: random.Random, data: bytearray) -> None:
    position = chance.randrange(used(data))
    if chance.random() < 0.5:
        del data[position : position + chance.randint(1, 30)]
    else:
        data[position:position] = chance.randbytes(chance.randint(1, 30))


def replace_all(chance: random.Random, data: bytearray) -> None:
    data[:] = chance.randbytes(chance.randint(0, 5000))


def make_unreadable(chance: random.Random, data: bytearray) -> None:
    """Cut short what is in use, or say that more is in use than there is, or give a key an impossible length."""
    in_use = used(data)
    kind = chance.randrange(3)
    if kind == 0:
        del data[chance.randrange(in_use) :]
    elif kind == 1:
        struct.pack_into("=i", data, 0, chance.choice([-1, 4, len(data) + 1, 2**31 - 1]))
    else:
        struct.pack_into("=i", data, chance.choice(entry_positions(data)), chance.choice([-24, 0, in_use]))


def used(data: bytearray) -> int:
    return int(struct.unpack_from("=i", data)[0])


def entry_positions(data: bytearray) -> list[int]:
    """Return where the entries of a good file start."""
    positions = []
    position = 8
    while position < used(data):
        positions.append(position)
        (length,) = struct.unpack_from("=i", data, position)
        position += 4 + length + 8 - (length + 4) % 8 + 16
    return positions


DAMAGES: tuple[Damage, ...] = (
    flip_bytes,
    lie_about_use,
    lie_about_a_key,
    truncate,
    blank_a_part,
    shift,
    replace_all,
)
