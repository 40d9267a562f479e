"""The options of the command line, environment and config file: each described once, in the file of its subject."""
