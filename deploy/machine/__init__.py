"""Installing Wherry on a machine that systemd runs, and removing it without a trace.

`wanted`, `plan` and `undo` decide: what a machine should have, what was found of it and the ledger
in, steps out. `observe` looks, `steps` does. The ledger (`ledger`) lists what an install has made
and what it found before, so that an uninstall undoes exactly that. All of it needs nothing but the
standard library: a checkout without an environment can uninstall.
"""
