"""What a pod may use of the machine: resizes of it, the room for them, and evictions beyond limits.

Pure, as all of `pod`. How limits look to a runtime is in spec/limits.py.
"""
