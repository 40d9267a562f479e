"""Fleet mode: the metrics of many workers in one answer.

`targets` says whom to ask and `sources` finds them; `client` asks one, `merge` makes one text of the answers,
and `fanout` does both for all. `app` serves it.
"""
