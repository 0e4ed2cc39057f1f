"""kubectl --as: who may be taken for whom; they then may what the other may, and no more."""

from __future__ import annotations

import pytest

from common.api.errors import StatusError
from common.security.identity import Identity
from master.apiserver.auth.impersonation import impersonated
from tests.fakes.roles import USER, authorizer, binding, role, rule

ADMIN = Identity("admin", ("system:masters",))
NODE = Identity("system:node:node1", ("system:nodes",))
BOB = Identity("bob")
AUTHORIZER = authorizer(
    role(
        "actor",
        rule("impersonate", "users", "core", "tom"),
        rule("impersonate", "groups", "core", "dev"),
        rule("impersonate", "serviceaccounts", "core"),
        rule("impersonate", "userextras/scopes", "authentication.k8s.io", "view"),
    ),
    binding("b", "ClusterRole", "actor", USER),
)


def taken_for(user: Identity, headers: dict[str, str], *groups: str) -> Identity:
    """Who a request with these headers is taken for."""
    return impersonated(AUTHORIZER, user, headers, groups)


def test_nobody_asked() -> None:
    assert taken_for(NODE, {"Accept": "*/*"}) == NODE


def test_an_administrator_gives_the_power_away() -> None:
    found = taken_for(ADMIN, {"Impersonate-User": "bob"}, "dev")
    assert found == Identity("bob", ("dev", "system:authenticated"))


def test_a_service_account_has_its_groups() -> None:
    found = taken_for(BOB, {"Impersonate-User": "system:serviceaccount:a:ci"})
    groups = ("system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated")
    assert found == Identity("system:serviceaccount:a:ci", groups)


@pytest.mark.parametrize(
    ("headers", "groups"),
    [
        ({"impersonate-user": "tom"}, ()),
        ({"Impersonate-User": "tom"}, ("dev",)),
        ({"Impersonate-User": "tom", "Impersonate-Extra-scopes": "view"}, ()),
    ],
)
def test_who_has_a_role_for_it_may(headers: dict[str, str], groups: tuple[str, ...]) -> None:
    assert taken_for(BOB, headers, *groups).user == "tom"


@pytest.mark.parametrize(
    ("headers", "groups", "why"),
    [
        ({"Impersonate-User": "admin"}, (), 'users "admin" is forbidden: User "bob" cannot '
         'impersonate resource "users" in API group "" at the cluster scope'),
        ({"Impersonate-User": "tom"}, ("dev", "system:masters"), 'groups "system:masters" is '
         'forbidden: User "bob" cannot impersonate resource "groups" in API group "" at the '
         "cluster scope"),
        ({"Impersonate-User": "tom", "Impersonate-Uid": "7"}, (), 'uids.authentication.k8s.io "7" '
         'is forbidden: User "bob" cannot impersonate resource "uids" in API group '
         '"authentication.k8s.io" at the cluster scope'),
        ({"Impersonate-User": "tom", "Impersonate-Extra-Scopes": "all"}, (),
         'userextras.authentication.k8s.io "all" is forbidden: User "bob" cannot impersonate '
         'resource "userextras/scopes" in API group "authentication.k8s.io" at the cluster scope'),
    ],
)  # fmt: skip
def test_others_may_not(headers: dict[str, str], groups: tuple[str, ...], why: str) -> None:
    with pytest.raises(StatusError) as raised:
        taken_for(BOB, headers, *groups)
    assert (raised.value.code, raised.value.message) == (403, why)


def test_a_node_may_not() -> None:
    with pytest.raises(StatusError) as raised:
        taken_for(NODE, {"Impersonate-User": "admin"}, "system:masters")
    assert raised.value.message == (
        'users "admin" is forbidden: User "system:node:node1" cannot impersonate resource "users" '
        'in API group "" at the cluster scope'
    )


@pytest.mark.parametrize("header", ["Impersonate-Group", "Impersonate-Uid", "Impersonate-Extra-a"])
def test_attributes_without_a_user_are_refused(header: str) -> None:
    with pytest.raises(StatusError) as raised:
        taken_for(ADMIN, {header: "dev"}, "dev")
    assert raised.value.code == 400
