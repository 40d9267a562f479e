"""Finds workers on this host: /proc -> which directories, whose, reached how."""
