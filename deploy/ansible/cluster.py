#!/usr/bin/env python3
"""An inventory for Ansible from the objects of a cluster: its nodes, and where its API is served.

    ansible-playbook -i deploy/ansible/cluster.py deploy/ansible/upgrade.yml

It asks `wherry get`, or kubectl where there is no wherry; KUBECONFIG says which cluster. Machines
have the names of their Nodes; a master that is no node is named by its address. Needs the standard
library only.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from typing import Any

QUESTION = ("get", "nodes,endpointslices", "--all-namespaces", "--output", "json")
TIMEOUT_SECONDS = 30.0
SERVICE = ("default", "kubernetes")
"""The Service, by namespace and name, that the API is served at."""


def main() -> None:
    """Print the inventory, as Ansible asks for it with --list."""
    if sys.argv[1:] != ["--list"]:
        sys.exit(
            "cluster.py is an inventory: ansible-playbook -i cluster.py ..., or cluster.py --list"
        )
    program = shutil.which("wherry") or shutil.which("kubectl")
    if program is None:
        sys.exit("cluster.py: there is neither wherry nor kubectl here to ask the cluster with")
    try:
        asked = subprocess.run(
            (program, *QUESTION), capture_output=True, text=True, timeout=TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired:
        sys.exit(
            f"cluster.py: the cluster does not answer {program} within {TIMEOUT_SECONDS:.0f} s"
        )
    if asked.returncode:
        sys.exit(f"cluster.py: {asked.stderr.strip()}")
    json.dump(inventory(json.loads(asked.stdout)["items"]), sys.stdout, indent=1)


def inventory(objects: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The groups `master` and `nodes`, from Nodes and EndpointSlices."""
    hosts: dict[str, dict[str, str]] = {}
    servers: list[tuple[str, int]] = []
    for each in objects:
        if each["kind"] == "Node":
            hosts[each["metadata"]["name"]] = _variables(each)
        elif _is_of_the_api(each):
            port = each["ports"][0]["port"]
            servers += [(a, port) for end in each["endpoints"] for a in end["addresses"]]
    nodes = sorted(hosts)
    names = {variables.get("ansible_host"): name for name, variables in hosts.items()}
    masters = []
    for address, _ in servers:
        name = names.get(address, address)
        hosts.setdefault(name, {"ansible_host": address})
        masters.append(name)
    groups: dict[str, Any] = {"master": {"hosts": masters}, "nodes": {"hosts": nodes}}
    if servers:
        address, port = servers[0]
        groups["all"] = {"vars": {"wherry_server": f"https://{address}:{port}"}}
    return groups | {"_meta": {"hostvars": hosts}}


def _variables(node: Mapping[str, Any]) -> dict[str, str]:
    addresses = node.get("status", {}).get("addresses", ())
    inner = [each["address"] for each in addresses if each["type"] == "InternalIP"]
    return {"ansible_host": inner[0]} if inner else {}


def _is_of_the_api(slice_: Mapping[str, Any]) -> bool:
    meta = slice_["metadata"]
    service = meta.get("labels", {}).get("kubernetes.io/service-name")
    return slice_["kind"] == "EndpointSlice" and (meta["namespace"], service) == SERVICE


if __name__ == "__main__":
    main()
