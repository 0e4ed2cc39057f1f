"""Roles and bindings on a running master: over REST, over gRPC, and for kubectl's questions.

What each default role gives stands in `can-i.tsv`, one row for each line of `kubectl auth can-i
--list`. Source: k8s.io/kubernetes 1.36 plugin/pkg/auth/authorizer/rbac/bootstrappolicy,
testdata/cluster-roles.yaml; the last column is Wherry's own.
"""

from __future__ import annotations

import csv
import json
import re
import subprocess
from collections import Counter, defaultdict
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.client.https import KubeConfig
from tests.e2e.cluster import kubectls
from tests.integration.security.test_access import wherry
from tests.integration.security.test_revocation import kubeconfig, refused
from tests.servers.master import RunningMaster

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(180)]
RBAC = "/apis/rbac.authorization.k8s.io/v1"


def created(master: RunningMaster, path: str, plain: dict[str, Any]) -> None:
    """Create an object as the administrator."""
    status, body = master.admin().request("POST", path, json.dumps(plain).encode())
    assert status == 201, body


def bound(
    master: RunningMaster,
    name: str,
    role: str,
    subject: dict[str, str],
    namespace: str = "default",
) -> None:
    """Give somebody a ClusterRole in a namespace."""
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
    plain = {"metadata": {"name": name}, "roleRef": ref, "subjects": [subject]}
    created(master, f"{RBAC}/namespaces/{namespace}/rolebindings", plain)


@pytest.fixture(scope="module")
def viewer(master: RunningMaster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kubeconfig of a member of a group that may see what is in the default namespace."""
    directory = tmp_path_factory.mktemp("viewer")
    kubeconfig(master, directory, "mia", "--group", "viewers")
    bound(master, "viewers", "view", {"kind": "Group", "name": "viewers"})
    return directory / "mia.kubeconfig"


def kubectl(viewer: Path, *arguments: str) -> tuple[str, bool]:
    """(What kubectl prints, whether it succeeds.)"""
    done = subprocess.run(
        [kubectls()[0], "--kubeconfig", viewer, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout + done.stderr, done.returncode == 0


def test_who_may_view_sees_and_does_not_touch(viewer: Path) -> None:
    assert kubectl(viewer, "get", "pods,configmaps")[1]
    said, may = kubectl(viewer, "create", "configmap", "mine")
    assert not may
    assert (
        'configmaps is forbidden: User "mia" cannot create resource "configmaps" in API group "" '
        'in the namespace "default"'
    ) in said
    for arguments in (("get", "secrets"), ("get", "pods", "-A"), ("get", "nodes")):
        said, may = kubectl(viewer, *arguments)
        assert not may
        assert "(Forbidden)" in said


def test_kubectl_can_ask(viewer: Path) -> None:
    assert kubectl(viewer, "auth", "can-i", "list", "pods") == ("yes\n", True)
    assert kubectl(viewer, "auth", "can-i", "delete", "pods") == ("no\n", False)
    assert "mia" in kubectl(viewer, "auth", "whoami")[0]
    listed = kubectl(viewer, "auth", "can-i", "--list")[0].splitlines()
    [pods] = [line.split() for line in listed if line.startswith("pods ")]
    assert pods == ["pods", "[]", "[]", "[get", "list", "watch]"]


EVERYBODY = (
    "system:basic-user",
    "system:discovery",
    "system:public-info-viewer",
    "wherry:discovery",
)
Line = tuple[str, frozenset[str]]
"""(A resource or URL, the verbs.)"""


def given(*roles: str) -> Counter[Line]:
    """The lines of kubectl's table for who has roles: verbs of a resource come together, URLs do
    not.
    """
    verbs, lines = defaultdict[str, set[str]](set), Counter[Line]()
    with Path(__file__).with_name("can-i.tsv").open(newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            for words in (row[role].split(",") for role in roles if row[role]):
                if row["what"].startswith("/") or row["what"] == "*":
                    lines[row["what"], frozenset(words)] += 1
                else:
                    verbs[row["what"]].update(words)
    return lines + Counter((what, frozenset(words)) for what, words in verbs.items())


def listed(master: RunningMaster, *arguments: str) -> Counter[Line]:
    """The lines of kubectl's table."""
    config = master.directory / "data/admin.kubeconfig"
    said, done = kubectl(config, "auth", "can-i", "--list", *arguments)
    assert done, said
    lines = Counter[Line]()
    for line in said.splitlines()[1:]:
        found = re.fullmatch(r"(\S*) +\[(.*)\] +\[\] +\[(.*)\] *", line)
        assert found, line
        resource, url, verbs = found.groups()
        lines[resource or url, frozenset(verbs.split())] += 1
    return lines


@pytest.mark.parametrize("role", ["view", "edit", "admin", "cluster-admin"])
def test_a_default_role_gives_what_kubernetes_does(master: RunningMaster, role: str) -> None:
    """All of it and no more, where it is bound, as the real kubectl lists it."""
    bound(master, f"has-{role}", role, {"kind": "User", "name": f"has-{role}"})
    assert listed(master, "--as", f"has-{role}") == given(role, *EVERYBODY)
    assert listed(master, "--as", f"has-{role}", "-n", "kube-system") == given(*EVERYBODY)


def test_masters_are_listed_what_their_role_gives(master: RunningMaster) -> None:
    assert listed(master) == given("cluster-admin", *EVERYBODY)


def review(kind: str, group: str = "authorization", **spec: Any) -> dict[str, Any]:
    """A question as a manifest."""
    plain = {"apiVersion": f"{group}.k8s.io/v1", "kind": kind, "spec": spec}
    return plain | ({"metadata": {"namespace": "default"}} if kind.startswith("Local") else {})


PODS = {"namespace": "default", "verb": "get", "resource": "pods"}
REVIEWS = (
    (review("SubjectAccessReview", user="mia", groups=["viewers"], resourceAttributes=PODS), True),
    (review("SubjectAccessReview", user="mia", resourceAttributes=PODS), False),
    (review("LocalSubjectAccessReview", user="mia", resourceAttributes=PODS), False),
    (review("SelfSubjectAccessReview", resourceAttributes=PODS), True),
)


@pytest.mark.parametrize("kubectl", kubectls())
def test_kubectl_creates_reviews(
    kubectl: str, viewer: Path, master: RunningMaster, tmp_path: Path
) -> None:
    """It validates them itself: they cannot be patched, by which it tells what the server does."""
    command = [kubectl, "--kubeconfig", master.directory / "data/admin.kubeconfig", "create"]

    def create(*reviews: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "reviews.yaml"
        file.write_text(yaml.safe_dump_all(reviews))
        options = ["-f", str(file), "-o", "jsonpath={.status.allowed} "]
        return subprocess.run([*command, *options], capture_output=True, text=True, timeout=60)

    done = create(*(plain for plain, _ in REVIEWS))
    assert done.stdout.split() == [str(allowed).lower() for _, allowed in REVIEWS], done.stderr
    done = create(review("TokenReview", "authentication", token="x"))
    assert done.returncode == 0, done.stderr
    done = create(review("SelfSubjectAccessReview", nothing=PODS))
    assert done.returncode == 1
    assert 'unknown field "nothing"' in done.stderr


def test_scripts_are_asked_the_same(viewer: Path, master: RunningMaster) -> None:
    assert wherry(master, "--kubeconfig", str(viewer), "get", "pods") is not None
    said = refused(master, "--kubeconfig", str(viewer), "get", "nodes")
    assert 'User "mia" cannot list resource "nodes"' in said


def test_nobody_takes_more_than_they_have(viewer: Path, master: RunningMaster) -> None:
    """By a role, a binding, or another's name; not even where they may write roles."""
    kubeconfig(master, viewer.parent, "jim", "--group", "admins-here")
    bound(master, "admins-here", "admin", {"kind": "Group", "name": "admins-here"})
    jim = viewer.with_name("jim.kubeconfig")
    assert kubectl(jim, "create", "role", "r", "--verb=get", "--resource=pods")[1]
    for arguments in (
        ("create", "role", "s", "--verb=get", "--resource=nodes"),
        ("create", "rolebinding", "s", "--clusterrole=cluster-admin", "--user=jim"),
        ("create", "clusterrolebinding", "s", "--clusterrole=view", "--user=jim"),
        ("get", "nodes", "--as=admin", "--as-group=system:masters"),
        ("get", "pods", "--as=mia"),
    ):
        said, may = kubectl(jim, *arguments)
        assert not may, arguments
        assert "forbidden" in said.lower()
    assert kubectl(jim, "get", "pods", "--as=system:serviceaccount:default:default")[0].startswith(
        "Error from server (Forbidden): pods is forbidden: User "
        '"system:serviceaccount:default:default" cannot list'
    ), "who may be taken for an account may what that may"


def test_what_is_taken_away_counts_at_once(viewer: Path, master: RunningMaster) -> None:
    kubeconfig(master, viewer.parent, "tom", "--group", "others")
    bound(master, "tom", "view", {"kind": "User", "name": "tom"})
    client = KubeConfig(viewer.with_name("tom.kubeconfig")).client()
    pods = "/api/v1/namespaces/default/pods"
    assert client.request("GET", pods)[0] == 200
    path = f"{RBAC}/namespaces/default/rolebindings/tom"
    assert master.admin().request("DELETE", path)[0] == 200
    assert client.request("GET", pods)[0] == 403


HIDDEN = "hidden-name"
SPACE = "/api/v1/namespaces/elsewhere/configmaps"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
PATCH = "application/merge-patch+json"


@pytest.mark.parametrize(
    ("method", "path", "headers", "body"),
    [
        ("GET", SPACE, {}, None),
        ("GET", "/api/v1/configmaps", {}, None),
        ("GET", f"{SPACE}/{HIDDEN}", {}, None),
        ("GET", f"{SPACE}?watch=true", {}, None),
        ("GET", f"/api/v1/watch/namespaces/elsewhere/configmaps/{HIDDEN}", {}, None),
        ("GET", SPACE, {"Accept": TABLE}, None),
        ("GET", f"{SPACE}?fieldSelector=metadata.name%3D{HIDDEN}", {}, None),
        ("GET", f"{SPACE}?labelSelector=app", {}, None),
        ("GET", f"{SPACE}?limit=1&continue=CONTINUE", {}, None),
        ("PATCH", f"{SPACE}/{HIDDEN}", {"Content-Type": PATCH}, {}),
        ("PATCH", f"{SPACE}/{HIDDEN}?dryRun=All", {"Content-Type": PATCH}, {}),
        ("PUT", f"{SPACE}/{HIDDEN}?dryRun=All", {}, {"metadata": {"name": HIDDEN}}),
        ("POST", f"{SPACE}?dryRun=All", {}, {"metadata": {"name": HIDDEN}}),
        ("DELETE", f"{SPACE}/{HIDDEN}?dryRun=All", {}, None),
        ("DELETE", f"{SPACE}?dryRun=All", {}, None),
    ],
)
def test_what_is_denied_shows_through_nothing(
    viewer: Path,
    master: RunningMaster,
    method: str,
    path: str,
    headers: dict[str, str],
    body: dict[str, Any] | None,
) -> None:
    """G18: the answer is the same whether the object is there or not."""
    admin = master.admin()
    if admin.request("GET", f"{SPACE}/{HIDDEN}")[0] != 200:
        created(master, "/api/v1/namespaces", {"metadata": {"name": "elsewhere"}})
        for name in (HIDDEN, "second"):
            secret = {"metadata": {"name": name}, "data": {"k": "hidden-value"}}
            created(master, SPACE, secret)
    page = json.loads(admin.request("GET", f"{SPACE}?limit=1")[1])
    path = path.replace("CONTINUE", page["metadata"]["continue"])
    pair = KubeConfig(viewer).certificate
    with closing(master.connection(pair)) as connection:
        data = json.dumps(body).encode() if body is not None else None
        connection.request(method, path, body=data, headers=headers)
        answer = connection.getresponse()
        said = answer.read().decode()
    assert answer.status == 403
    assert "hidden-value" not in said
    assert "second" not in said
    asked_by_name = HIDDEN in path.partition("?")[0]
    assert asked_by_name or HIDDEN not in said


def test_every_path_but_the_public_ones_needs_a_role(master: RunningMaster) -> None:
    """Of who is known and has nothing: discovery, and questions about themselves."""
    headers = {"Impersonate-User": "somebody"}
    expected = {
        "/api/v1": 200,
        "/apis": 200,
        "/openapi/v3": 200,
        "/version": 200,
        "/ports": 200,
        "/rotation": 403,
        "/metrics": 403,
        "/api/v1/namespaces": 403,
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/view": 403,
        "/apis/metrics.k8s.io/v1beta1/nodes": 403,
    }
    token = (master.directory / "data" / "admin.token").read_text().strip()
    found = {}
    for path in expected:
        with closing(master.connection(None)) as connection:
            headers["Authorization"] = f"Bearer {token}"
            connection.request("GET", path, headers=headers)
            found[path] = connection.getresponse().status
    assert found == expected


def test_each_method_of_a_proxy_needs_its_verb_for_the_name_as_it_stands(
    master: RunningMaster,
) -> None:
    """What is let through finds no pod. Of a node nothing can be asked."""
    name, rules = "proxied", f"{RBAC}/namespaces/default"
    for verbs, of in ((["get"], "web:80"), (["create", "update", "patch"], "http:web:80")):
        role = f"{name}-{verbs[0]}"
        rule = {"apiGroups": [""], "resources": ["pods/proxy"], "verbs": verbs}
        rule["resourceNames"] = [of]
        meta = {"name": role}
        created(master, f"{rules}/roles", {"metadata": meta, "rules": [rule]})
        ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role}
        binding = {"metadata": meta, "roleRef": ref, "subjects": [{"kind": "User", "name": name}]}
        created(master, f"{rules}/rolebindings", binding)
    found = {}
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        for of in ("web:80", "http:web:80"):
            path = f"/api/v1/namespaces/default/pods/{of}/proxy/x?watch=true"
            if asked(master, name, method, path) != 403:
                found[method, of] = asked(master, name, method, path)
    let_through = [("GET", "web:80"), ("HEAD", "web:80")]
    let_through += [(method, "http:web:80") for method in ("POST", "PUT", "PATCH")]
    assert found == dict.fromkeys(let_through, 404)
    assert asked(master, "", "OPTIONS", path) == 404
    assert asked(master, "", "GET", "/api/v1/nodes/n1/proxy") == 404
    assert asked(master, "", "GET", "/api/v1/nodes/n1/proxy/metrics") == 404


def asked(master: RunningMaster, user: str, method: str, path: str) -> int:
    """The code of an answer to somebody, or to the administrator."""
    token = (master.directory / "data" / "admin.token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    if user:
        headers["Impersonate-User"] = user
    with closing(master.connection(None)) as connection:
        connection.request(method, path, headers=headers)
        return connection.getresponse().status


def test_default_roles_are_put_right_at_the_next_start(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """What is missing of them comes back; what an administrator forbids to change stays."""
    master = RunningMaster(tmp_path_factory.mktemp("default-roles"))
    try:
        master.start()
        admin = master.admin()
        for name, annotation in (("system:discovery", "true"), ("system:basic-user", "false")):
            meta = {"annotations": {"rbac.authorization.kubernetes.io/autoupdate": annotation}}
            body = json.dumps({"metadata": meta, "rules": None}).encode()
            status, said = admin.request("PATCH", f"{RBAC}/clusterroles/{name}", body)
            assert status == 200, said
        assert admin.request("DELETE", f"{RBAC}/clusterroles/view")[0] == 200
        master.stop()
        master.start()

        def rules(name: str) -> list[Any]:
            status, body = master.admin().request("GET", f"{RBAC}/clusterroles/{name}")
            assert status == 200, body
            return list(json.loads(body).get("rules") or ())

        assert rules("system:discovery")
        assert rules("system:basic-user") == []
        assert (
            "aggregationRule"
            in master.admin().request("GET", f"{RBAC}/clusterroles/view")[1].decode()
        )
    finally:
        master.stop()
