"""The installer's decisions: plan, undo, ledger, units."""
