"""The user's own scheduler: a Python file that filters, scores or chooses, in a child process.

The file never runs in the master. What Kubernetes' built-in filters say holds in any case.
"""
