"""HTTP: routes, limits and the status page, on aiohttp."""
