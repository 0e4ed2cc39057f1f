"""A filter and a score: pods of one customer on that customer's nodes, and batch work packed.

For the master's setting `scheduler-file`. See docs/own-scheduler.md.
"""

weight = 5


def filter(pod, node):
    """A node with the label `customer` takes pods of that customer only."""
    if node.labels.get("customer", "") != pod.labels.get("customer", ""):
        return "node(s) belonged to another customer"
    return ""


def score(pod, node):
    """Batch work goes where most CPU is in use, so that whole nodes stay free."""
    if pod.labels.get("kind") != "batch" or not node.allocatable["cpu"]:
        return 0
    return 100 - 100 * max(node.free["cpu"], 0) / node.allocatable["cpu"]
