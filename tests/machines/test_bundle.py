"""A machine without any package that Wherry needs, and without a way to get one, from a bundle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machines.machines import TRACES, Machines

pytestmark = [pytest.mark.machines, pytest.mark.timeout(900)]

NAME, URL = "n2", "https://10.97.7.12:6443"
PLACE = "/root/bundle"
INSTALL = f"{PLACE}/deploy/install"
# runc stays: the machines' Podman is told to use it. Links to units that the image has masked would
# not come back with Podman: they are copied.
PACKAGES = "podman netavark catatonit nftables conntrack etcd-server python3-venv"
BARE = f"""
cp -a /etc/systemd/system /root/bundle-units
apt-mark manual runc conmon
apt-get purge --yes {PACKAGES}
apt-get autoremove --purge --yes -o APT::AutoRemove::SuggestsImportant=0 \
    -o APT::AutoRemove::RecommendsImportant=0
systemctl reset-failed
"""
AS_BEFORE = f"""
{PLACE}/deploy/uninstall --purge
for part in common environment install real; do source {PLACE}/deploy/lib/$part.sh; done
packages_install {PACKAGES}
systemctl enable --now etcd.service podman.socket
cp -an /root/bundle-units/. /etc/systemd/system/
rm -r /root/bundle*
"""


def traces(machines: Machines) -> set[str]:
    """What an install could change."""
    return set(machines.run(NAME, TRACES, check=False).splitlines())


@pytest.fixture(scope="module")
def bare(machines: Machines, bundle: Path) -> Iterator[Machines]:
    """n2 has an unpacked bundle, and nothing else of what Wherry needs."""
    before = traces(machines)
    machines.put(NAME, bundle, "/root/bundle.tar.gz")
    unpack = f"mkdir {PLACE}; tar -C {PLACE} --strip-components=1 -xzf /root/bundle.tar.gz"
    machines.run(NAME, f"set -e; {unpack}; {BARE}")
    try:
        yield machines
    finally:
        machines.run(NAME, AS_BEFORE)
    assert traces(machines) ^ before == set()


def test_a_bundle_that_was_cut_short_changes_nothing(bare: Machines) -> None:
    was = traces(bare)
    cut = "mkdir /root/cut; head -c 200000000 /root/bundle.tar.gz | tar -C /root/cut -xz"
    bare.run(NAME, cut, check=False)
    said = bare.run(NAME, "/root/cut/*/deploy/install master; rm -r /root/cut", check=False)
    (line,) = said.splitlines()
    assert line.startswith("deploy/install: this bundle is not whole (wheels/")
    assert traces(bare) ^ was == set()


def test_a_master_and_a_node_come_from_the_bundle_alone(bare: Machines) -> None:
    said = bare.run(NAME, f"{INSTALL} master", timeout_seconds=300)
    assert "installing etcd-server python3-venv" in said
    assert f"The master serves {URL}" in said
    bare.run(NAME, "umask 077; wherry token create --uses 1 > /root/token")
    join = f"{INSTALL} node --server {URL} --token-file /root/token"
    said = bare.run(NAME, f"{join}; rm /root/token", timeout_seconds=300)
    assert "installing podman netavark catatonit nftables conntrack" in said
    assert "The node is Ready" in said
    assert "n2" in bare.run(NAME, "wherry get nodes")


def test_a_second_run_installs_nothing(bare: Machines) -> None:
    said = bare.run(NAME, f"{INSTALL} master; {INSTALL} node --server {URL}")
    assert "installing" not in said
    assert "writing" not in said
