"""A whole algorithm: replicas apart from each other first, then the fullest node that has room.

For the master's setting `scheduler-file`. See docs/own-scheduler.md.
"""


def schedule(pod, nodes):
    """The name of one of `nodes`; all of them have room for the pod."""
    best = min(nodes, key=lambda node: (node.same, node.free["cpu"], node.name))
    return best.name
