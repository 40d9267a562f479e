"""Fleet mode: the metrics of many workers in one answer.

`sources` finds the workers, `targets` decides where to scrape them; `merge` merges their answers into one text, and
`fanout` scrapes all targets and merges. `app` serves the result.
"""
