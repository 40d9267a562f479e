"""Errors whose text is for the user."""


class ScrapeError(Exception):
    """A scrape that cannot be answered; its str is one line for the client."""


class SettingsError(Exception):
    """What is wrong with the settings: a line per problem: option (as the user wrote it) and value."""
