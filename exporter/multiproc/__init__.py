"""The engine: multiprocess files in, samples out. Knows no asyncio, no HTTP, no log."""
