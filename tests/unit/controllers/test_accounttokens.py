"""Secrets get the token of the service account that they name, and go with it."""

from __future__ import annotations

from typing import Any

import pytest

from common.api.types.core_v1 import ObjectReference, Secret, ServiceAccount
from common.api.types.meta_v1 import ObjectMeta
from common.client.commands import Delete, Requeue, Update
from common.client.informer import Item
from master.controllers.accounttokens import AccountTokenController
from master.controllers.lib.resources import SECRETS, SERVICE_ACCOUNTS
from tests.unit.controllers.sim import Cluster

NAME, UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
TYPE = "kubernetes.io/service-account-token"
KEY = "shop/web-token"


class World(Cluster):
    """A cluster with a service account `web` in the namespace `shop`."""

    def __init__(self) -> None:
        super().__init__()
        self.ca = b"pem"
        self.signed: list[tuple[str, ...]] = []
        self.controller = AccountTokenController(lambda: self.ca, self._sign)
        self.account = self.put(ServiceAccount(metadata=ObjectMeta(name="web", namespace="shop")))

    def _sign(self, *about: str) -> str:
        self.signed.append(about)
        return f"token-{len(self.signed)}"

    def secret(self, uid: str = "", account: str = "web", **more: Any) -> Item:
        """A Secret that asks for the token of a service account."""
        annotations = {NAME: account} | ({UID: uid} if uid else {})
        meta = ObjectMeta(name="web-token", namespace="shop", annotations=annotations)
        return self.put(Secret(**{"metadata": meta, "type": TYPE, **more}))

    def up_to_date(self) -> None:
        """The informer of service accounts has everything there is."""
        self.listers["serviceaccounts"].revision = self.revision

    def filled(self) -> Secret:
        return self.get(Secret, "web-token", "shop")


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("named", [False, True])
def test_it_gets_what_pods_have_in_a_file(world: World, named: bool) -> None:
    world.secret(world.account.uid if named else "", data={"more": b"stays"})
    (update,) = world.reconcile(world.controller, KEY)
    assert isinstance(update, Update)
    secret = world.filled()
    assert secret.data == {
        "more": b"stays",
        "ca.crt": b"pem",
        "namespace": b"shop",
        "token": b"token-1",
    }
    assert secret.metadata.annotations == {NAME: "web", UID: world.account.uid}
    assert world.signed == [("web-token", "shop", "web", world.account.uid)]
    assert world.reconcile(world.controller, KEY) == []


def test_what_it_holds_already_stays_but_for_the_authority(world: World) -> None:
    data = {"token": b"own", "namespace": b"other", "ca.crt": b"former"}
    world.secret(data=data)
    world.reconcile(world.controller, KEY)
    assert world.filled().data == {**data, "ca.crt": b"pem"}
    assert world.signed == []
    world.ca = b"pem of both"
    world.reconcile(world.controller, KEY)
    assert world.filled().data == {**data, "ca.crt": b"pem of both"}


def test_a_token_that_was_taken_out_is_followed_by_another(world: World) -> None:
    world.secret()
    world.reconcile(world.controller, KEY)
    secret = world.filled()
    secret.data = {"namespace": b"shop"}
    world.put(secret)
    world.reconcile(world.controller, KEY)
    assert world.filled().data["token"] == b"token-2"


def test_the_secret_of_nobody_goes(world: World) -> None:
    item = world.secret()
    world.remove(ServiceAccount, "web", "shop")
    (waits,) = world.reconcile(world.controller, KEY)
    assert isinstance(waits, Requeue), "the account may merely be news to its informer"
    world.up_to_date()
    (delete,) = world.reconcile(world.controller, KEY)
    assert isinstance(delete, Delete)
    assert delete.uid == item.uid
    assert world.list(Secret) == []
    assert world.reconcile(world.controller, KEY) == []


def test_the_secret_of_another_account_of_that_name_goes(world: World) -> None:
    world.secret(uid="former")
    world.up_to_date()
    assert isinstance(world.reconcile(world.controller, KEY)[0], Delete)


def test_a_secret_that_has_gone_is_listed_by_no_account(world: World) -> None:
    """Others that it lists stay, were they there or not; accounts of other namespaces, too."""
    listed = tuple(ObjectReference(name=name) for name in ("web-token", "web-token-2"))
    for name, namespace in (("web", "shop"), ("else", "shop"), ("web", "home")):
        meta = ObjectMeta(name=name, namespace=namespace)
        secrets = listed[1:] if name == "else" else listed
        world.put(ServiceAccount(metadata=meta, secrets=secrets))
    world.secret()
    world.reconcile(world.controller, KEY)
    assert world.get(ServiceAccount, "web", "shop").secrets == listed, "it is there"
    world.remove(Secret, "web-token", "shop")
    (update,) = world.reconcile(world.controller, KEY)
    assert isinstance(update, Update)
    assert world.get(ServiceAccount, "web", "shop").secrets == listed[1:]
    assert world.get(ServiceAccount, "web", "home").secrets == listed
    assert world.reconcile(world.controller, KEY) == []


@pytest.mark.parametrize(
    "more",
    [
        {"type": "Opaque"},
        {"immutable": True},
        {
            "metadata": ObjectMeta(
                name="web-token",
                namespace="shop",
                annotations={NAME: "web"},
                deletionTimestamp="2030-01-01T00:00:00Z",
                finalizers=("hold",),
            )
        },
    ],
)
def test_others_are_left_alone(world: World, more: dict[str, Any]) -> None:
    world.secret(**more)
    world.up_to_date()
    assert world.reconcile(world.controller, KEY) == []


def test_an_account_that_comes_or_goes_wakes_its_secrets(world: World) -> None:
    secret, meta = world.secret(), ObjectMeta(name="x", namespace="shop")
    other = world.put(Secret(metadata=meta))
    keys, view = world.controller.keys, world.view
    assert list(keys(view, SECRETS, None, secret)) == [KEY]
    assert list(keys(view, SECRETS, secret, secret)) == [KEY]
    assert list(keys(view, SECRETS, None, other)) == []
    again = world.put(ServiceAccount(metadata=ObjectMeta(name="web", namespace="shop", uid="n")))
    for old, new in ((world.account, None), (None, world.account), (world.account, again)):
        assert list(keys(view, SERVICE_ACCOUNTS, old, new)) == [KEY]
    assert list(keys(view, SERVICE_ACCOUNTS, again, again)) == []
    stranger = world.put(ServiceAccount(metadata=ObjectMeta(name="other", namespace="shop")))
    assert list(keys(view, SERVICE_ACCOUNTS, stranger, None)) == []
    moved = world.secret(account="other")
    assert list(keys(view, SECRETS, secret, moved)) == [KEY]
    assert list(keys(view, SERVICE_ACCOUNTS, world.account, None)) == []
    assert list(keys(view, SERVICE_ACCOUNTS, None, stranger)) == [KEY]
    assert list(keys(view, SECRETS, moved, None)) == [KEY]
    assert list(keys(view, SECRETS, other, None)) == []
    assert list(keys(view, SERVICE_ACCOUNTS, None, stranger)) == []
