"""Who may ask, and over what: TLS, users and headers of a `--web-config` file.

    webconfig   the file: its text -> values
    tls         values -> a TLS context
    users       names and passwords
    access      all of it on the server, and the file over time

Imported only where there is such a file: YAML and bcrypt are memory that most exporters need not spend.
"""
