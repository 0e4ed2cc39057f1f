"""One file a controller: a pure reconcile from (key, view, now) to commands with reasons.

Controllers do not import each other and never see storage; `base` carries their commands out.
"""
