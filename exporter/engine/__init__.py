"""The inference engine's figures, such as tokens per second: snapshots of its metrics, and their times, in; values out.

It is pure: it knows no HTTP, no event loop and no log. (`multiproc/engine.py` is another thing: it merges files.)
"""
