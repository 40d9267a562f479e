"""Errors whose text is shown to the user."""


class ScrapeError(Exception):
    """A scrape failed; its str is one line for the client."""


class SettingsError(Exception):
    """Invalid settings; its str has a line per problem, with the option as the user wrote it, and its value."""
