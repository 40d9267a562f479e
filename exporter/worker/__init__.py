"""One worker: its directory, watched and served."""
