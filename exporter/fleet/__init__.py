"""Fleet mode: the metrics of many workers in one answer.

`sources` finds the workers, `targets` decides where to scrape them; `client` scrapes one target, `merge` merges the
answers into one text, and `fanout` does both for all targets. `app` serves the result.
"""
