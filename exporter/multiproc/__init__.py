"""The engine: reads multiprocess files and merges their samples, without asyncio, HTTP or logging."""
