"""The stream to the master: connect, resume, report. It carries messages and decides nothing."""
