"""Which node a pod goes to: queue, snapshot of the nodes as columns, cycle, plugins.

Sees the API through common.client only. No plugin knows another.
"""
