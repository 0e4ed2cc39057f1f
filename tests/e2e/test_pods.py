"""Pods that end each way, and pods that are replaced, restarted, or left alone."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.e2e.cluster import IMAGE, Cluster, pod, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def shown(cluster: Cluster, name: str) -> str:
    """The STATUS column of `kubectl get pod`."""
    said = cluster.kubectl("get", "pod", name, "--no-headers", check=False).split()
    return said[2] if len(said) > 2 and said[0] == name else " ".join(said)


def test_every_end(clean: Cluster) -> None:
    """Pending with the reason, Running, Succeeded, Failed, CrashLoopBackOff, image errors."""
    huge = {"container": {"resources": {"requests": {"cpu": "99"}}}}
    clean.apply(
        pod("pending", ["true"], **huge),
        pod("running", ["sleep", "1000"]),
        pod("succeeded", ["true"], restartPolicy="Never"),
        pod(
            "failed", ["sh", "-c", "echo why > /dev/termination-log; exit 3"], restartPolicy="Never"
        ),
        pod("crash", ["sh", "-c", "echo once; exit 1"]),
        pod(
            "noimage",
            ["true"],
            container={"image": "127.0.0.1:1/no/such:1", "imagePullPolicy": "Always"},
        ),
        pod(
            "hosted",
            ["sleep", "1000"],
            hostUsers=False,
        ),
        pod(
            "grown",
            ["sh", "-c", "dd if=/dev/zero of=/v/big bs=1M count=3; sleep 1000"],
            container={"volumeMounts": [{"name": "v", "mountPath": "/v"}]},
            volumes=[{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}],
            terminationGracePeriodSeconds=600,
        ),
        pod(
            "filled",
            ["sh", "-c", "dd if=/dev/zero of=/tmp/big bs=1M count=3; sleep 1000"],
            container={"resources": {"limits": {"ephemeral-storage": "1Mi"}}},
        ),
    )
    until(lambda: shown(clean, "running") == "Running")
    until(lambda: shown(clean, "succeeded") == "Completed")
    until(lambda: shown(clean, "failed") == "Error")
    until(lambda: shown(clean, "crash") == "CrashLoopBackOff")
    until(lambda: shown(clean, "noimage") in ("ErrImagePull", "ImagePullBackOff"))
    until(lambda: shown(clean, "noimage") == "ImagePullBackOff", timeout_seconds=60)
    until(
        lambda: (
            "0/3 nodes are available: 3 Insufficient cpu."
            in clean.kubectl("describe", "pod", "pending")
        ),
        what="the reason of Pending",
    )
    condition = clean.get("pod", "pending")["status"]["conditions"][0]
    assert condition["reason"] == "Unschedulable"
    ended = clean.get("pod", "failed")["status"]
    assert ended["phase"] == "Failed"
    terminated = ended["containerStatuses"][0]["state"]["terminated"]
    assert (terminated["exitCode"], terminated["reason"]) == (3, "Error")
    assert terminated["message"].strip() == "why"
    assert clean.get("pod", "succeeded")["status"]["phase"] == "Succeeded"
    until(lambda: clean.kubectl("logs", "crash", "--previous", check=False) == "once\n")
    until(lambda: "spec.hostUsers" in clean.kubectl("describe", "pod", "hosted"))
    assert clean.get("pod", "hosted")["status"]["phase"] == "Pending"
    until(lambda: clean.get("pod", "grown")["status"]["phase"] == "Failed")
    described = clean.kubectl("describe", "pod", "grown")
    assert re.search(r"\nReason: +Evicted\n", described)
    assert 'Usage of EmptyDir volume "v" exceeds the limit "1Mi".' in described
    until(lambda: clean.get("pod", "filled")["status"]["phase"] == "Failed")
    said = clean.get("pod", "filled")["status"]["message"]
    text = "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi."
    assert said == text


def test_terminating_takes_its_grace(clean: Cluster) -> None:
    """A pod that ignores TERM is Terminating until its grace period ends, then killed."""
    stubborn = pod(
        "stubborn",
        ["sh", "-c", "trap '' TERM; while true; do sleep 1; done"],
        terminationGracePeriodSeconds=5,
    )
    clean.apply(stubborn)
    until(lambda: shown(clean, "stubborn") == "Running")
    clean.kubectl("delete", "pod", "stubborn", "--wait=false")
    assert shown(clean, "stubborn") == "Terminating"
    until(lambda: "not found" in shown(clean, "stubborn"), timeout_seconds=15)


def test_what_containers_get(clean: Cluster) -> None:
    """Environment, volumes, limits, init containers, working directory."""
    clean.kubectl("create", "configmap", "cm", "--from-literal=key=from-config")
    clean.kubectl("create", "secret", "generic", "sec", "--from-literal=word=from-secret")
    script = (
        "cat /data/file /cfg/key /sec/word; echo; echo $CM $SEC $NAME $MEM $(pwd) $REF; "
        "stat -f -c %T /sec; hostname; cat /sys/fs/cgroup/memory/memory.limit_in_bytes "
        "/sys/fs/cgroup/memory.max 2>/dev/null; true"
    )
    wanted: dict[str, Any] = {
        "workingDir": "/tmp",
        "resources": {"limits": {"memory": "64Mi", "cpu": "500m"}},
        "env": [
            {"name": "CM", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "key"}}},
            {"name": "SEC", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "word"}}},
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}},
            {"name": "REF", "value": "[$(NAME)]"},
        ],
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": "cfg", "mountPath": "/cfg"},
            {"name": "sec", "mountPath": "/sec"},
        ],
    }
    init = {
        "name": "init",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", "echo made-by-init > /data/file"],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    volumes = [
        {"name": "data", "emptyDir": {}},
        {"name": "cfg", "configMap": {"name": "cm"}},
        {"name": "sec", "secret": {"secretName": "sec"}},
    ]
    clean.apply(
        pod(
            "full",
            ["sh", "-c", script],
            container=wanted,
            initContainers=[init],
            volumes=volumes,
            restartPolicy="Never",
        )
    )
    until(lambda: shown(clean, "full") == "Completed", what="full")
    printed = clean.kubectl("logs", "full")
    assert printed.startswith("made-by-init\nfrom-configfrom-secret\n")
    assert "from-config from-secret full 67108864 /tmp [full]\ntmpfs\nfull\n67108864" in printed


def replication_controller(name: str, command: list[str]) -> dict[str, Any]:
    """A ReplicationController of one pod."""
    template = pod(name, command)
    return {
        "apiVersion": "v1",
        "kind": "ReplicationController",
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "selector": {"app": name},
            "template": {"metadata": {"labels": {"app": name}}, "spec": template["spec"]},
        },
    }


def the_pod(cluster: Cluster, app: str) -> dict[str, Any]:
    """The one running pod of an app that is not being deleted, or {}."""
    found = [
        p
        for p in cluster.get("pods", "-l", f"app={app}")["items"]
        if "deletionTimestamp" not in p["metadata"] and p["status"]["phase"] == "Running"
    ]
    return found[0] if len(found) == 1 else {}


def test_sidecars_run_before_beside_and_after_the_app(clean: Cluster) -> None:
    """A sidecar that has started lets the others begin; one that runs lets the pod complete."""
    serve = "trap 'echo stopped; exit 1' TERM; sleep 2; touch /v/up; sleep 1000 & wait"
    mount = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    common = {"image": IMAGE, "imagePullPolicy": "IfNotPresent", **mount}
    sidecar = {
        **common,
        "name": "proxy",
        "command": ["sh", "-c", serve],
        "restartPolicy": "Always",
        "startupProbe": {"exec": {"command": ["test", "-e", "/v/up"]}, "periodSeconds": 1},
        "lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", "echo hooked > /proc/1/fd/1"]}}},
    }
    init = {**common, "name": "setup", "command": ["sh", "-c", "cp /v/up /v/also"]}
    app = "cat /v/up /v/also && sleep 5"
    for name, then in (("done", "true"), ("served", "sleep 1000")):
        clean.apply(
            pod(
                name,
                ["sh", "-c", f"{app}; {then}"],
                container=mount,
                initContainers=[sidecar, init],
                restartPolicy="Never",
                terminationGracePeriodSeconds=30,
                volumes=[{"name": "v", "emptyDir": {}}],
            )
        )
    until(lambda: shown(clean, "served") == "Running")
    assert clean.kubectl("get", "pod", "served", "--no-headers").split()[1] == "2/2"
    # The STATUS column says Completed as soon as the app has ended.
    until(lambda: clean.get("pod", "done")["status"]["phase"] == "Succeeded", timeout_seconds=60)
    assert clean.kubectl("logs", "done", "-c", "proxy") == "hooked\nstopped\n"
    status = clean.get("pod", "done")["status"]
    assert status["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 1
    clean.kubectl("exec", "served", "-c", "proxy", "--", "kill", "1")
    until(
        lambda: clean.get("pod", "served")["status"]["initContainerStatuses"][0]["restartCount"],
        what="the restart of the sidecar",
    )
    assert clean.get("pod", "served")["status"]["containerStatuses"][0]["restartCount"] == 0
    clean.kubectl("delete", "pod", "served", "--grace-period=1")


def test_rules_for_exit_codes_restart_one_container_or_all(clean: Cluster) -> None:
    """A rule is above the policies; RestartAllContainers begins the pod anew, with its volumes."""

    def ruled(name: str, action: str) -> dict[str, Any]:
        codes = {"operator": "In", "values": [42]}
        return pod(
            name,
            ["sh", "-c", "test -e /v/been && exec sleep 1000; touch /v/been; exit 42"],
            container={
                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                "restartPolicy": "Never",
                "restartPolicyRules": [{"action": action, "exitCodes": codes}],
            },
            initContainers=[
                {
                    "name": name,
                    "image": IMAGE,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["sleep", "1000"] if name == "proxy" else ["true"],
                    **({"restartPolicy": "Always"} if name == "proxy" else {}),
                }
                for name in ("setup", "proxy")
            ],
            restartPolicy="Never",
            volumes=[{"name": "v", "emptyDir": {}}],
        )

    def restarts(name: str) -> list[int]:
        status = clean.get("pod", name)["status"]
        both = (*status["initContainerStatuses"], *status["containerStatuses"])
        return [one["restartCount"] for one in both if "running" in one["state"]]

    clean.apply(ruled("one", "Restart"), ruled("all", "RestartAllContainers"))
    until(lambda: restarts("one") == [0, 1], timeout_seconds=60)
    until(lambda: restarts("all") == [1, 1], timeout_seconds=60)
    assert shown(clean, "all") == "Running"
    clean.kubectl("delete", "pod", "one", "all", "--grace-period=1")


def test_a_container_has_the_token_of_its_account(clean: Cluster) -> None:
    """Where client libraries look for it, and for its user alone; the API knows it."""
    place = "/var/run/secrets/kubernetes.io/serviceaccount"
    script = f"cd {place}; cat namespace; echo; head -n 1 ca.crt; ls -nL token; cat token; echo"
    command, own = ["sh", "-c", script], {"runAsUser": 1234}
    clean.apply(pod("caller", command, restartPolicy="Never", securityContext=own))
    until(lambda: shown(clean, "caller") == "Completed")
    namespace, certificate, listed, token = clean.kubectl("logs", "caller").splitlines()
    assert (namespace, certificate) == ("default", "-----BEGIN CERTIFICATE-----")
    assert listed.split()[0] == "-rw-------"
    assert listed.split()[2] == "1234"
    review = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "metadata": {"name": "whose"},
        "spec": {"token": token},
    }
    reviews = "/apis/authentication.k8s.io/v1/tokenreviews"
    said = clean.kubectl("create", "--raw", reviews, "-f", "-", text=json.dumps(review))
    user = json.loads(said)["status"]["user"]
    assert user["username"] == "system:serviceaccount:default:default"
    assert user["extra"]["authentication.kubernetes.io/pod-name"] == ["caller"]


def test_replacement_and_restart(clean: Cluster) -> None:
    """Deleted and Failed pods are replaced; killed processes restart in place; others stay."""
    by_hand = ["podman", "run", "-d", "--name", "by-hand", "--network=host", IMAGE, "sleep", "9999"]
    clean.shell("node1", *by_hand)
    inspect = ["podman", "inspect", "by-hand", "--format", "{{.Id}} {{.State.StartedAt}}"]
    before = clean.shell("node1", *inspect)
    clean.apply(replication_controller("rc", ["sleep", "1000"]), pod("bare", ["sleep", "1000"]))
    first = until(lambda: the_pod(clean, "rc"), what="the first pod")
    until(lambda: shown(clean, "bare") == "Running")

    clean.kubectl("delete", "pod", first["metadata"]["name"], "--grace-period=1")
    second = until(lambda: the_pod(clean, "rc"), what="the second pod")
    assert second["metadata"]["uid"] != first["metadata"]["uid"]

    name = second["metadata"]["name"]
    clean.kubectl(
        "patch",
        "pod",
        name,
        "--subresource=status",
        "--type=merge",
        "-p",
        json.dumps({"status": {"phase": "Failed"}}),
    )
    until(lambda: "not found" in shown(clean, name), timeout_seconds=60, what="the Failed pod")
    third = until(lambda: the_pod(clean, "rc"), what="the third pod")
    assert third["metadata"]["uid"] != second["metadata"]["uid"]

    node = third["spec"]["nodeName"]
    container = third["status"]["containerStatuses"][0]["containerID"].removeprefix("podman://")
    clean.shell(node, "podman", "kill", "-s", "KILL", container)
    name = third["metadata"]["name"]

    def restarted() -> bool:
        status = clean.get("pod", name)["status"]["containerStatuses"][0]
        return status["restartCount"] == 1 and "running" in status["state"]

    until(restarted, what="the restart in the same pod")
    assert the_pod(clean, "rc")["metadata"]["uid"] == third["metadata"]["uid"]

    clean.kubectl("delete", "pod", "bare", "--grace-period=1")
    clean.kubectl("delete", "rc", "rc")
    until(lambda: not clean.get("pods")["items"], what="an empty namespace")
    assert clean.shell("node1", *inspect) == before
    clean.shell("node1", "podman", "rm", "-f", "-t", "0", "by-hand")


def test_the_inside_of_volumes_and_their_group(clean: Cluster) -> None:
    """A file of a ConfigMap beside the image's own, a directory for each pod, a group."""
    clean.kubectl("create", "configmap", "settings", "--from-literal=app.conf=color=blue")
    script = (
        "cat /bin/app.conf; echo; ls /bin/sh; touch /data/mine; ls -ln /all/inside | tail -1; "
        "id -G; stat -c '%g %a' /all"
    )
    mounts = [
        {"name": "settings", "mountPath": "/bin/app.conf", "subPath": "app.conf"},
        {"name": "data", "mountPath": "/all"},
        {"name": "data", "mountPath": "/data", "subPathExpr": "$(POD)"},
    ]
    clean.apply(
        pod(
            "inside",
            ["sh", "-c", script],
            container={
                "volumeMounts": mounts,
                "env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            },
            restartPolicy="Never",
            securityContext={"runAsUser": 1234, "runAsGroup": 1234, "fsGroup": 4321},
            volumes=[
                {"name": "settings", "configMap": {"name": "settings"}},
                {"name": "data", "emptyDir": {}},
            ],
        )
    )
    until(lambda: shown(clean, "inside") == "Completed")
    said = clean.kubectl("logs", "inside").splitlines()
    assert said[:2] == ["color=blue", "/bin/sh"]
    assert said[2].split()[2:4] == ["1234", "4321"]
    assert "4321" in said[3].split()
    assert said[4] == "4321 2777"
    clean.apply(
        pod(
            "outside",
            ["true"],
            container={"volumeMounts": [{"name": "data", "mountPath": "/d", "subPath": "link/x"}]},
            initContainers=[
                {
                    "name": "links",
                    "image": IMAGE,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["ln", "-s", "/etc", "/d/link"],
                    "volumeMounts": [{"name": "data", "mountPath": "/d"}],
                }
            ],
            volumes=[{"name": "data", "emptyDir": {}}],
        )
    )
    until(lambda: "leads out of its volume" in clean.kubectl("describe", "pod", "outside"))


def test_what_a_pod_has_of_its_machine(clean: Cluster) -> None:
    """A port, sysctls, a name in the DNS, the runtime that its class names; and who is refused."""
    runtime = clean.shell("node1", "podman", "info", "--format", "{{.Host.OCIRuntime.Name}}")
    meta = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "own"}}
    clean.apply({**meta, "handler": runtime.strip()})
    script = (
        "cat /proc/sys/kernel/shm_rmid_forced; hostname; grep -c svc.cluster.local /etc/hosts;"
        "exec httpd -f -p 8080 -h /etc"
    )
    clean.apply(
        pod(
            "wanting",
            ["sh", "-c", script],
            container={"ports": [{"containerPort": 8080, "hostPort": 30999}]},
            nodeName="node1",
            runtimeClassName="own",
            subdomain="db",
            setHostnameAsFQDN=True,
            securityContext={"sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}]},
        ),
        pod(
            "greedy",
            ["true"],
            securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "1"}]},
        ),
    )
    until(lambda: clean.kubectl("logs", "wanting", check=False).count("\n") == 3)
    said = clean.kubectl("logs", "wanting").split()
    assert said == ["1", "wanting.db.default.svc.cluster.local", "1"]
    fetch = ("busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:30999/hostname")
    assert clean.shell("node1", *fetch).strip() == said[1]
    until(lambda: shown(clean, "greedy") == "SysctlForbidden")
    assert 'forbidden sysctl: "kernel.msgmax" not allowlisted' in clean.kubectl(
        "describe", "pod", "greedy"
    )
    clean.kubectl("delete", "runtimeclass", "own")
    of_class = '--overrides={"spec":{"runtimeClassName":"own"}}'
    refused = clean.kubectl("run", "x", f"--image={IMAGE}", of_class, check=False)
    assert 'RuntimeClass "own" not found' in refused


MEMORY_LIMIT = (
    "cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes"
)


def resize(cluster: Cluster, name: str, **resources: dict[str, str | None]) -> str:
    """What kubectl says when it resizes the container of a pod."""
    patch = {"spec": {"containers": [{"name": "c", "resources": resources}]}}
    command = ("patch", "pod", name, "--subresource", "resize", "--patch", json.dumps(patch))
    return cluster.kubectl(*command, check=False)


def memory_limit(cluster: Cluster, name: str) -> int:
    """What the kernel holds a container to, read inside it."""
    said = cluster.kubectl("exec", name, "--", "sh", "-c", MEMORY_LIMIT, check=False)
    return int(said) if said.strip().isdigit() else 0


def test_resizes(clean: Cluster) -> None:
    """In place, by a restart, more than there is, and less than is used."""
    own = {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}}
    restarts = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    clean.apply(
        pod("resized", ["sleep", "1000"], container={"resources": own}),
        pod(
            "restarted",
            ["sleep", "1000"],
            container={"resources": own, "resizePolicy": restarts},
            terminationGracePeriodSeconds=1,
        ),
    )
    names = ("resized", "restarted")
    until(lambda: all(shown(clean, name) == "Running" for name in names))
    assert [memory_limit(clean, name) for name in names] == [64 << 20] * 2
    for name in names:
        resize(clean, name, limits={"memory": "96Mi"}, requests={"cpu": "20m"})
    until(lambda: all(memory_limit(clean, name) == 96 << 20 for name in names))

    def status(name: str) -> dict[str, Any]:
        found: dict[str, Any] = clean.get("pod", name)["status"]
        return found

    def conditions(name: str) -> dict[str, Any]:
        return {one["type"]: one for one in status(name)["conditions"]}

    until(lambda: not any("PodResizeInProgress" in conditions(name) for name in names))
    for name, count in (("resized", 0), ("restarted", 1)):
        [has] = status(name)["containerStatuses"]
        assert has["restartCount"] == count
        assert has["allocatedResources"] == {"cpu": "20m", "memory": "32Mi"}
        assert has["resources"]["limits"] == {"memory": "96Mi"}
    assert "resource limits cannot be removed" in resize(clean, "resized", limits={"memory": None})
    said = resize(clean, "resized", requests={"cpu": "99"})
    assert "node didn't have enough allocatable resources: cpu, requested: 99000" in said
    resize(clean, "resized", requests={"cpu": "20m", "memory": "8Ki"}, limits={"memory": "8Ki"})
    until(lambda: conditions("resized").get("PodResizeInProgress", {}).get("reason") == "Error")
    assert "below current usage" in conditions("resized")["PodResizeInProgress"]["message"]
    resize(clean, "resized", requests={"memory": "32Mi"}, limits={"memory": "48Mi"})
    until(lambda: memory_limit(clean, "resized") == 48 << 20)
    until(lambda: "PodResizeInProgress" not in conditions("resized"))
    assert status("resized")["containerStatuses"][0]["restartCount"] == 0
