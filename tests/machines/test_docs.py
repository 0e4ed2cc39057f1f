"""Every command of docs/install.md and docs/operating.md, typed by a reader on four machines.

They reach no index, so what is typed in a checkout is typed in an unpacked bundle. All but the
first test are long (`tests/run full`) and follow each other.
"""

from __future__ import annotations

import ast
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from tests.machines.machines import Machines
from tests.machines.tools.ansible import ROOT
from tests.machines.tools.hello import deploy_hello, until
from tests.machines.tools.reader import Reader, documented

pytestmark = [pytest.mark.machines, pytest.mark.timeout(1800)]
full = pytest.mark.full

NAMES = {
    "MASTER": "10.97.7.10",
    "10.0.0.1": "10.97.7.10",
    "10.0.0.2": "10.97.7.11",
    "10.0.0.3": "10.97.7.12",
}
MEMBERS = ("m1", "n1", "n2")
NODES = ("n1", "n2", "n3")
KUBECONFIG = "export KUBECONFIG=/var/lib/wherry/master/admin.kubeconfig"
OF_MEMBER = (
    "export ETCDCTL_API=3 ETCDCTL_ENDPOINTS=https://127.0.0.1:2379",
    "export ETCDCTL_CACERT=/etc/etcd/pki/ca.crt ETCDCTL_CERT=/etc/etcd/pki/member.crt "
    "ETCDCTL_KEY=/etc/etcd/pki/member.key",
)
OF_MASTER = """
cd /var/lib/wherry/master/etcd/pki
export ETCDCTL_API=3 ETCDCTL_ENDPOINTS=https://127.0.0.1:2379
export ETCDCTL_CACERT=$PWD/ca.crt ETCDCTL_CERT=$PWD/client.crt ETCDCTL_KEY=$PWD/client.key
"""
NO_ETCD = """
systemctl stop etcd
rm -rf /etc/systemd/system/etcd.service.d /etc/etcd /var/lib/etcd/wherry /etc/wherry /root/etcd
systemctl daemon-reload; systemctl reset-failed; systemctl enable --now etcd
"""
WEB = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  nodeName: n3
  terminationGracePeriodSeconds: 0
  containers: [{name: web, image: localhost/wherry-demo, imagePullPolicy: Never}]
"""
# What the pages say of the verbs of `wherry`, and what a reader types for it.
FORMS = {
    "wherry apply -f FILE [--wait] [--timeout 5m]": [
        "wherry apply -f /root/web.yaml --wait --timeout 5m"
    ],
    "wherry get KIND [NAME] | KIND/NAME | KIND,KIND [-n NS | -A] [-l app=web] "
    "[-o wide|json|yaml|name]": [
        "wherry get pod web -o yaml",
        "wherry get pod/web -n default -o json",
        "wherry get pods,services -A -o wide",
        "wherry get pods -l app=web -o name | grep -x pod/web",
    ],
    "wherry logs POD | -l app=web [-f] [-c CONTAINER] [--tail 20] [-p]": [
        "wherry logs web -c web --tail 20 | grep serves",
        "wherry logs -l app=web | grep serves",
        "timeout 2 wherry logs web -f || (($? == 124))",
        "! wherry logs web -p",
    ],
    "wherry exec POD [-i] [-t] [-c CONTAINER] -- COMMAND...; wherry attach POD [-i]": [
        "wherry exec web -c web -- hostname | grep -x web",
        "echo typed | wherry exec -i web -- cat | grep -x typed",
        "timeout 2 wherry attach web || (($? == 124))",
    ],
    "wherry port-forward POD [LOCAL:]PORT...": [
        "timeout 10 wherry port-forward web 18080:8080 & "
        "until curl --silent http://127.0.0.1:18080/ | grep hello; do sleep 0.2; done"
    ],
    "wherry cp FILE POD:PATH; wherry cp POD:PATH FILE": [
        "wherry cp /root/web.yaml web:/tmp/there; wherry cp web:/tmp/there /root/back.yaml",
        "cmp /root/web.yaml /root/back.yaml && rm /root/back.yaml",
    ],
    "wherry cordon NODE; wherry uncordon NODE": ["wherry cordon n3; wherry uncordon n3"],
    "wherry drain NODE [--force] [--timeout 5m]": [
        "! wherry drain n3",
        "wherry drain n3 --force --timeout 5m",
        "wherry uncordon n3",
    ],
    "wherry delete KIND NAME [-n NS]": [
        "wherry apply -f /root/web.yaml",
        "wherry delete pod web -n default",
    ],
}


def test_every_command_is_typed_here() -> None:
    """None of the pages is forgotten, and none that is typed is gone from them."""
    tree = ast.parse(Path(__file__).read_text())
    here = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert [line for line in documented() if line not in here] == []


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of the developer's, with an inventory of the machines and a bundle."""
    tree = tmp_path_factory.mktemp("checkout")
    files = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT).decode().split("\0")
    subprocess.run(["cp", "--parents", "-t", tree, *files[:-1]], cwd=ROOT, check=True)
    lines = ("cd deploy/ansible", "cp inventory.example.yml inventory.yml")
    for script in ("make dev bundle", "\n".join(lines)):
        assert set(script.split("\n")) <= set(documented())
        subprocess.run(["bash", "-ec", script], cwd=tree, check=True)
    inventory = tree / "deploy/ansible/inventory.yml"
    machines = yaml.safe_load(inventory.read_text().replace("192.0.2.", "10.97.7."))
    machines["etcd"] = {"hosts": dict.fromkeys(MEMBERS)}
    for place in (inventory, tree / "inventory.yml"):
        place.write_text(yaml.safe_dump(machines))
    return tree


class Here(NamedTuple):
    """The developer's machine, which reaches the others by ssh."""

    machines: Machines
    checkout: Path
    reader: Reader

    def types(
        self,
        line: str,
        *,
        cwd: str = "deploy/ansible",
        names: Mapping[str, str] | None = None,
        kubeconfig: str = "",
    ) -> str:
        """What a line of the pages prints when it is typed in a folder of the checkout."""
        settings = (
            f"PATH={self.checkout}/.venv-test/bin:/usr/local/bin:/usr/bin:/bin",
            f"ANSIBLE_HOME={self.checkout}/ansible-home",
            f"ANSIBLE_SSH_COMMON_ARGS=-F {self.machines.state}/ssh_config",
            f"KUBECONFIG={kubeconfig}",
        )
        script = f"cd {self.checkout}/{cwd}\n{self.reader.text(line, names)}"
        command = ("env", *settings, "bash", "-ec", script)
        return self.machines.inside(*command, timeout_seconds=1200)


@pytest.fixture(scope="module")
def reader(machines: Machines, checkout: Path) -> Iterator[Reader]:
    """Somebody who has brought the bundle to m1 and n3 and has unpacked it."""
    (bundle,) = (checkout / "dist").glob("wherry-*.tar.gz")
    found = Reader(
        machines, NAMES | {"wherry-VERSION-PROCESSOR": bundle.name.removesuffix(".tar.gz")}
    )
    for name in ("m1", "n3"):
        machines.put(name, bundle, f"/root/{bundle.name}")
        found.types(name, "tar -xzf wherry-VERSION-PROCESSOR.tar.gz")
        machines.run(name, "ln -s $(ls -d /root/wherry-*/) /root/wherry")
    yield found
    for name in ("m1", "n3"):
        machines.run(name, "rm -rf /root/wherry*")


@pytest.fixture(scope="module")
def here(machines: Machines, checkout: Path, reader: Reader) -> Here:
    """The machine of whoever types."""
    return Here(machines, checkout, reader)


@full
def test_an_etcd_of_your_own(machines: Machines, reader: Reader, here: Here) -> None:
    playbook = "ansible-playbook -i inventory.yml deploy/ansible/etcd.yml"
    try:
        here.types(playbook, cwd=".")
        machines.run("m1", "cp -r /etc/wherry/etcd /root/etcd; rm -r /etc/wherry")
        reader.types(
            "m1",
            "deploy/install master --etcd-endpoints "
            "https://10.0.0.1:2379,https://10.0.0.2:2379,https://10.0.0.3:2379 "
            "--etcd-cacert FILE --etcd-cert FILE --etcd-key FILE",
            names={
                "cacert FILE": "cacert /root/etcd/ca.crt",
                "cert FILE": "cert /root/etcd/client.crt",
                "key FILE": "key /root/etcd/client.key",
            },
            cwd="/root/wherry",
        )
        _settings_are_as_documented(machines, reader)
        reader.types("m1", *OF_MEMBER, "etcdctl snapshot save /var/backups/wherry.db")
        _replace_a_member(machines, reader)
        here.types(playbook, cwd=".")
        until(lambda: members(machines).count("started") == 3, "three members")
        _make_room(machines, reader)
        assert "default" in machines.run("m1", "wherry get namespaces")
    finally:
        machines.run("m1", "wherry-uninstall --purge; rm -f /var/backups/wherry.db", check=False)
        for name in MEMBERS:
            machines.run(name, NO_ETCD)


def _settings_are_as_documented(machines: Machines, reader: Reader) -> None:
    lines = (
        "etcd-endpoints: [https://10.0.0.1:2379, https://10.0.0.2:2379, https://10.0.0.3:2379]",
        "etcd-cacert: /etc/wherry/etcd/ca.crt",
        "etcd-cert: /etc/wherry/etcd/client.crt",
        "etcd-key: /etc/wherry/etcd/client.key",
    )
    wanted = yaml.safe_load("\n".join(map(reader.text, lines)))
    found = machines.run("m1", "cat /etc/wherry/config.yaml")
    assert yaml.safe_load(found).items() >= wanted.items()


def members(machines: Machines) -> str:
    """What a member says of all of them."""
    return machines.run("m1", "\n".join([*OF_MEMBER, "etcdctl member list"]), check=False)


def _replace_a_member(machines: Machines, reader: Reader) -> None:
    """n1, whose machine has lost all of it."""
    machines.run("n1", "systemctl stop etcd; rm -rf /var/lib/etcd/wherry")

    def replaced() -> bool:
        """A reader types it again where a leader is just being elected."""
        found = {
            line.split(", ")[2]: line.split(", ")[0] for line in members(machines).splitlines()
        }
        remove, add = (
            "etcdctl member remove ID",
            "etcdctl member add n1 --peer-urls=https://10.0.0.2:2380",
        )
        if "n1" in found:
            reader.types("m1", *OF_MEMBER, remove, names={"ID": found["n1"]}, check=False)
        else:
            reader.types("m1", *OF_MEMBER, add, check=False)
        return "unstarted" in members(machines)

    until(replaced, "a successor is announced")


def _make_room(machines: Machines, reader: Reader) -> None:
    asked = "\n".join([*OF_MEMBER, "etcdctl endpoint status -w json"])
    [status] = json.loads(machines.run("m1", asked))
    reader.types(
        "m1",
        *OF_MEMBER,
        "etcdctl compact REVISION",
        "etcdctl defrag --cluster",
        "etcdctl alarm disarm",
        names={"REVISION": str(status["Status"]["header"]["revision"])},
    )


@full
def test_a_master_and_a_node_by_hand(machines: Machines, reader: Reader) -> None:
    """On a machine where Debian's etcd runs, as its package starts it."""
    said = reader.types("m1", "deploy/install master", cwd="/root/wherry", check=False)
    for line in (
        "deploy/install: this machine is not ready; mend this first:",
        "port 2379 is taken by etcd (etcd.service): systemctl disable --now etcd.service, "
        "or set etcd-client-port in /etc/wherry/config.yaml",
    ):
        assert reader.text(line) in said
    machines.run("m1", "systemctl disable --now etcd.service")
    reader.types("m1", "wherry-VERSION-PROCESSOR/deploy/install master")
    token = reader.types("m1", KUBECONFIG, "wherry token create --uses 1")
    machines.run("n3", "umask 077; cat > /root/token", input=token)
    join = "deploy/install node --server https://MASTER:6443 --token-file /root/token"
    assert "The node is Ready" in reader.types("n3", join, cwd="/root/wherry")
    reader.types("n3", "rm /root/token")


def ready(machines: Machines) -> list[str]:
    """The nodes that are."""
    lines = machines.run("m1", "wherry get nodes", check=False).splitlines()
    return [line.split()[0] for line in lines if " Ready " in line]


@full
def test_the_others_by_ansible(machines: Machines, here: Here, tmp_path: Path) -> None:
    here.types("ansible-playbook site.yml")
    assert ready(machines) == [*NODES]
    kubeconfig = tmp_path / "admin.kubeconfig"
    machines.get("m1", "/var/lib/wherry/master/admin.kubeconfig", kubeconfig)
    from_cluster = "ansible-playbook -i cluster.py -e ansible_user=root site.yml"
    here.types(from_cluster, kubeconfig=str(kubeconfig))


@full
def test_an_upgrade_and_back(machines: Machines, reader: Reader, here: Here) -> None:
    """To the version that is there."""
    here.types("ansible-playbook upgrade.yml")
    [version] = reader.types("m1", "ls /opt/wherry").replace("current", "").split()
    names = {"0.1.0-b4b3c7e4": version}
    here.types("ansible-playbook upgrade.yml -e wherry_version=0.1.0-b4b3c7e4", names=names)
    reader.types(
        "m1",
        "/opt/wherry/0.1.0-b4b3c7e4/bin/python -I -m deploy.machine install "
        "--programs /opt/wherry/0.1.0-b4b3c7e4 master",
        names=names,
    )


@full
def test_the_verbs_of_wherry(machines: Machines, reader: Reader) -> None:
    deploy_hello(machines, *NODES)
    machines.run("m1", "cat > /root/web.yaml", input=WEB)
    for form, commands in FORMS.items():
        assert reader.text(form) == form
        for command in commands:
            machines.run("m1", command)
    machines.run("m1", "rm /root/web.yaml")


@full
def test_logs(machines: Machines, reader: Reader) -> None:
    reader.types("n3", "journalctl -u wherry-kubelet -p warning")
    line, names = (
        "journalctl WHERRY_OBJECT=default/web -o verbose",
        {"default/web": "default/hello"},
    )
    assert "WHERRY_OBJECT=default/hello" in reader.types("m1", line, names=names)
    assert "debug" in reader.types("m1", "wherry log-level master debug")
    machines.run("m1", "wherry log-level master info")


@full
def test_a_kubelet_that_is_started_by_hand(machines: Machines, reader: Reader) -> None:
    """It has lost its certificate, and joins with a token."""
    token = reader.types("m1", "wherry token create --ttl 1h --uses 1")
    machines.run("n3", "systemctl stop wherry-kubelet; rm -r /var/lib/wherry/node/node-pki")
    machines.run("n3", "umask 077; cat > /etc/wherry/join.token", input=token)
    line = reader.text(
        "wherry-kubelet --master https://MASTER:6443 --token-file /etc/wherry/join.token"
    )
    path = "PATH=/opt/wherry/current/bin:$PATH"
    machines.run("n3", f"systemd-run --collect --unit by-hand bash -c '{path} exec {line}'")
    joined = "test -e /var/lib/wherry/node/node-pki/node.pem && echo yes"
    until(lambda: "yes" in machines.run("n3", joined, check=False), "n3 has joined")
    machines.run("n3", "systemctl stop by-hand; rm /etc/wherry/join.token")
    machines.run("n3", "systemctl start wherry-kubelet")
    until(lambda: "n3" in ready(machines), "n3 is ready")


@full
def test_keys_and_certificates(machines: Machines, reader: Reader) -> None:
    reader.types("m1", "wherry secret-key rotate --file /var/lib/wherry/master/pki/secret.keys")
    account_key = "wherry account-key rotate --file /var/lib/wherry/master/pki/service-accounts.key"
    assert "is the new key" in reader.types("m1", account_key)
    machines.run("m1", "systemctl restart wherry-master")
    until(lambda: ready(machines) == [*NODES], "all nodes after a restart")
    reader.types("m1", "wherry kubeconfig create mia --lifetime 30d --output mia.kubeconfig")
    as_mia = "KUBECONFIG=/root/mia.kubeconfig wherry get nodes"
    assert "n3" in machines.run("m1", as_mia)
    assert "mia" in reader.types("m1", "wherry kubeconfig list")
    reader.types("m1", "wherry kubeconfig revoke mia")
    assert "n3" not in machines.run("m1", f"{as_mia}; rm mia.kubeconfig", check=False)
    assert "done; " in reader.types("m1", "wherry ca rotate")


@full
def test_who_may_view_sees_what_they_may(here: Here, tmp_path: Path) -> None:
    """Typed by who has a copy of the administrator's kubeconfig."""
    kubeconfig = tmp_path / "admin.kubeconfig"
    here.machines.get("m1", "/var/lib/wherry/master/admin.kubeconfig", kubeconfig)
    said = [
        here.types(line, kubeconfig=str(kubeconfig))
        for line in (
            "wherry kubeconfig create eva --group viewers --output eva.kubeconfig",
            "kubectl create rolebinding viewers --clusterrole view --group viewers",
            "kubectl --kubeconfig eva.kubeconfig auth can-i --list",
        )
    ]
    assert "[get list watch]" in said[-1]


@full
def test_a_backup_is_restored(machines: Machines, reader: Reader) -> None:
    """What was written after it is gone."""
    machines.run("m1", "wherry apply -f -", input=config_map("before"))
    reader.types("m1", "etcdctl snapshot save /var/backups/wherry.db", before=OF_MASTER)
    machines.run("m1", "wherry apply -f -", input=config_map("after"))
    machines.run("m1", "systemctl stop wherry-master")
    reader.types(
        "m1",
        "mv /var/lib/wherry/master/etcd/data /var/lib/wherry/master/etcd/data.old",
        "etcdctl snapshot restore /var/backups/wherry.db "
        "--data-dir /var/lib/wherry/master/etcd/data "
        "--name wherry --initial-cluster wherry=https://127.0.0.1:2380 "
        "--initial-advertise-peer-urls https://127.0.0.1:2380",
        "chown -R wherry: /var/lib/wherry/master/etcd/data",
        before="export ETCDCTL_API=3",
    )
    machines.run("m1", "systemctl start wherry-master; rm /var/backups/wherry.db")
    until(lambda: ready(machines) == [*NODES], "all nodes after a restore")
    found = machines.run("m1", "wherry get configmaps -o name").split()
    assert "configmap/before" in found
    assert "configmap/after" not in found


def config_map(name: str) -> str:
    """A manifest."""
    return f"{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}}}}}"


@full
def test_all_of_it_is_removed(machines: Machines, reader: Reader) -> None:
    assert "gone: " in reader.types("n3", "deploy/uninstall", cwd="/root/wherry")
    assert "gone: " in reader.types("m1", "deploy/uninstall", cwd="/root/wherry")
    for name in ("m1", *NODES):
        machines.run(name, "wherry-uninstall --purge || /root/wherry/deploy/uninstall --purge")
    machines.run("m1", "systemctl enable --now etcd.service")
