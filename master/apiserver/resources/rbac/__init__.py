"""Roles and bindings: what may stand in them. Who may write which: `admission/rbac_escalation`."""
