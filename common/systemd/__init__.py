"""What a service tells systemd: that it is ready and alive, and its log with all its fields.

Nothing here is needed to run: on machines without systemd, and in tests, nobody is told anything.
Unit files do not belong here, but to deploy/.
"""
