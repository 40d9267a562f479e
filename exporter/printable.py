"""Makes texts of others, such as file names, safe for one line of output."""


def printable(text: str) -> str:
    """Return `text` with unprintable characters, and undecodable bytes of file names, as backslash escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
