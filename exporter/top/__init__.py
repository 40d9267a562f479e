"""`smg-exporter top`: the engine view in a terminal.

`poll` reads expositions, `workers` tells whose they are, and the engine view makes figures of them; `overview` and
`detail` write these as lines of text, which `once` prints, and `screen` shows.
"""
