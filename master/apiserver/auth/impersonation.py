"""Impersonation: kubectl's --as, --as-group, --as-uid and --as-user-extra, for who may.

Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from common.api import errors
from common.api.wellknown import AUTHENTICATED
from common.security.identity import Identity
from master.apiserver.auth.attributes import Attributes
from master.apiserver.auth.authorizer import Authorizer
from master.apiserver.auth.authorizers.rbac import SERVICE_ACCOUNT_PREFIX
from master.apiserver.auth.serviceaccounts import GROUP as SERVICE_ACCOUNTS

EXTRA = "impersonate-extra-"
AUTHENTICATION = "authentication.k8s.io"


def impersonated(
    authorizer: Authorizer, user: Identity, headers: Mapping[str, str], groups: Sequence[str]
) -> Identity:
    """Who the request is to be taken for.

    `groups` are the values of Impersonate-Group. Raises StatusError 403 when the user may not take
    that name, group or attribute, 400 for groups of nobody.
    """
    given = {name.lower(): value for name, value in headers.items()}
    asked = {name: value for name, value in given.items() if name.startswith("impersonate-")}
    if not asked:
        return user
    name = asked.get("impersonate-user", "")
    if not name:
        raise errors.bad_request("requested impersonation without impersonating a user")
    account = _account(name)
    for wanted in _wanted(name, account, groups, asked):
        authorizer.authorize(user, wanted)
    if account and not groups:
        groups = (SERVICE_ACCOUNTS, f"{SERVICE_ACCOUNTS}:{account[0]}")
    return Identity(name, tuple(dict.fromkeys((*groups, AUTHENTICATED))))


def _account(name: str) -> tuple[str, str] | None:
    """(namespace, name) of a service account, or None for other users."""
    namespace, colon, account = name.removeprefix(SERVICE_ACCOUNT_PREFIX).partition(":")
    is_account = name.startswith(SERVICE_ACCOUNT_PREFIX) and colon
    return (namespace, account) if is_account else None


def _wanted(
    name: str, account: tuple[str, str] | None, groups: Sequence[str], asked: Mapping[str, str]
) -> Iterator[Attributes]:
    """What the user must be allowed, one by one."""
    if account:
        namespace, of = account
        yield Attributes("impersonate", "", "serviceaccounts", namespace=namespace, name=of)
    else:
        yield Attributes("impersonate", "", "users", name=name)
    for group in groups:
        yield Attributes("impersonate", "", "groups", name=group)
    if "impersonate-uid" in asked:
        uid = asked["impersonate-uid"]
        yield Attributes("impersonate", AUTHENTICATION, "uids", name=uid)
    for header, value in asked.items():
        if header.startswith(EXTRA):
            key = header.removeprefix(EXTRA)
            yield Attributes("impersonate", AUTHENTICATION, "userextras", key, name=value)
