"""The cells of role bindings."""

from __future__ import annotations

from datetime import datetime
from typing import Any


def binding(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of a RoleBinding or ClusterRoleBinding."""
    ref = obj.get("roleRef", {})
    named: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for subject in obj.get("subjects") or ():
        name = subject.get("name", "")
        if subject.get("kind") == "ServiceAccount":
            name = f"{subject.get('namespace', '')}/{name}"
        named.setdefault(subject.get("kind", ""), []).append(name)
    return {
        "Role": f"{ref.get('kind', '')}/{ref.get('name', '')}",
        "Users": ", ".join(named["User"]),
        "Groups": ", ".join(named["Group"]),
        "ServiceAccounts": ", ".join(named["ServiceAccount"]),
    }
