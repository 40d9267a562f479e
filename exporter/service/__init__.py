"""What every daemon of ours needs to run: its loop, its sockets, systemd, threads, the log, metrics of its own."""
