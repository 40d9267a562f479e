"""What `check` prints."""


def by_first_word(printed: str) -> dict[str, list[str]]:
    """Return the lines without their first word, by that word."""
    said: dict[str, list[str]] = {}
    for line in printed.splitlines():
        said.setdefault(line[:12].strip(), []).append(line[12:])
    return said
