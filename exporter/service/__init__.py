"""What all daemons share: the run from start to stop, signals, systemd, checks, own metrics."""
