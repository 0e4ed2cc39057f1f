"""Serves what the master asks of this machine's pods: logs, commands, connections to ports;
and takes images that it sends.

Each file serves one kind of session. How sessions are opened is `node.session`'s; how a log is read
is `streams`'.
"""
