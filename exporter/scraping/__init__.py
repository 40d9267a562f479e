"""Other programs' expositions, over HTTP: a URL -> a body or a reason -> what its lines say -> a snapshot."""
