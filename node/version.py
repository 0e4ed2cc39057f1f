"""Which Kubernetes a node speaks as: the one place of it on this side."""

KUBERNETES = "v1.36.2"
MINOR = ".".join(KUBERNETES.removeprefix("v").split(".")[:2])
"""As user agents of probes say it: 1.36."""
