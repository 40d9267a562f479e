"""TLS, users and headers of a `--web-config` file.

    webconfig   parses the file into values
    tls         makes a TLS context of the values
    users       checks names and passwords
    access      applies all of it to the server, and reloads the file

Imported only if `--web-config` is given: YAML and bcrypt take memory.
"""
