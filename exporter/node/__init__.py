"""Many workers of this host: discovered, each served from its directory, in one answer."""
