"""The errors that pass between parts. Each one's text is one line for the user."""


class ScrapeError(Exception):
    """A scrape that cannot be answered; the scraper gets 503 and this reason."""
