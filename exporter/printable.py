"""Texts that others wrote, file names above all, made fit for a line of output."""


def printable(text: str) -> str:
    """Return `text` with its unprintable characters and a file name's stray bytes as backslash escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
