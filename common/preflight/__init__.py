"""What must be true of a machine before it can be a master or a node, and how that is found out.

`rules` are pure: facts in, findings out. `probe` asks the machine and changes nothing of it. Both
need nothing but the standard library, since they run before anything is installed. What mends a
finding does not belong here, but to whoever reads it, or to deploy/.
"""
