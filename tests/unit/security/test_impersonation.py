"""kubectl --as: an administrator may be taken for another, who then may only what is theirs."""

from __future__ import annotations

import pytest

from common.api.errors import StatusError
from common.security.identity import Identity
from master.apiserver.auth.authenticator import impersonated

ADMIN = Identity("admin", ("system:masters",))
NODE = Identity("system:node:node1", ("system:nodes",))


def test_nobody_asked() -> None:
    assert impersonated(NODE, {"Accept": "*/*"}, []) == NODE


def test_an_administrator_gives_the_power_away() -> None:
    found = impersonated(ADMIN, {"Impersonate-User": "bob"}, ["dev"])
    assert found == Identity("bob", ("dev", "system:authenticated"))


def test_others_may_not() -> None:
    with pytest.raises(StatusError) as raised:
        impersonated(NODE, {"Impersonate-User": "admin"}, ["system:masters"])
    assert raised.value.code == 403
    assert raised.value.message == (
        'users "admin" is forbidden: User "system:node:node1" cannot impersonate resource "users" '
        'in API group "" at the cluster scope'
    )


def test_groups_without_a_user_are_refused() -> None:
    with pytest.raises(StatusError) as raised:
        impersonated(ADMIN, {"Impersonate-Group": "dev"}, ["dev"])
    assert raised.value.code == 400
