"""The client library and the command: settings, progress, tables, errors; no loop, no socket."""
