"""How much may be held for others, and how often they may make something happen.

Which limit holds for whom does not belong here, but to whoever serves them.
"""
