"""kubectl exec, attach, cp, port-forward and proxy against real containers; who may use them."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import os
import re
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.cluster import IMAGE, Cluster, pod, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
MEGABYTES = 20
OVER = ("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "KUBECTL_PORT_FORWARD_WEBSOCKETS")
"""kubectl speaks SPDY where these are false: as all of them did before 1.30."""
SERVES = "echo hello > /tmp/index.html; exec httpd -f -p 127.0.0.1:8080 -h /tmp"


@pytest.fixture
def web(clean: Cluster) -> Cluster:
    """With a pod `web` that echoes what is attached to it."""
    clean.apply(pod("web", ["sh", "-c", "exec cat"], container={"stdin": True}))
    clean.kubectl("wait", "pod/web", "--for=condition=Ready", "--timeout=60s")
    return clean


@pytest.fixture(params=["true", "false"], ids=["websocket", "spdy"])
def transport(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[None]:
    """Each way in which kubectl may ask."""
    cluster.env.update(dict.fromkeys(OVER, request.param))
    yield
    for name in OVER:
        del cluster.env[name]


@pytest.mark.usefixtures("transport")
def test_exec_passes_output_errors_input_and_the_exit_code(web: Cluster) -> None:
    script = "echo out; echo err >&2; cat; exit 3"
    done = web.run_kubectl(["exec", "-i", "web", "--", "sh", "-c", script], text="typed\n")
    assert (done.stdout, done.returncode) == ("out\ntyped\n", 3)
    assert done.stderr == "err\ncommand terminated with exit code 3\n"
    done = web.run_kubectl(["exec", "web", "--", "/no/such/program"])
    assert done.returncode == 127
    assert "no such file or directory" in done.stderr


SIZED = "until stty size 2>/dev/null | grep -v '^0' > /dev/null; do sleep 0.1; done"
"""A shell waits so until somebody is there: the size comes with who has attached."""


def on_a_terminal(cluster: Cluster, arguments: list[str]) -> str:
    """What kubectl shows on a terminal of 33 lines and 99 columns."""
    typed = f"stty rows 33 cols 99; {shlex.join([cluster.kubectl_path, *arguments])}"
    shown = subprocess.run(
        ["script", "-qec", typed, os.devnull],
        env=cluster.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return shown.stdout


@pytest.mark.usefixtures("transport")
def test_a_terminal_has_the_size_of_the_users(web: Cluster) -> None:
    """It comes a moment after the command has begun, as with Kubernetes."""
    said = on_a_terminal(web, ["exec", "-it", "web", "--", "sh", "-c", f"tty; {SIZED}; stty size"])
    assert "/dev/pts/0" in said
    assert "33 99" in said


def test_attach_shows_what_the_first_process_says(web: Cluster) -> None:
    done = web.run_kubectl(["attach", "-i", "web"], text="hello\n")
    assert "hello" in done.stdout
    # The end of the input is the end of `cat`, which the container is: it was attached once.
    until(lambda: web.get("pod", "web")["status"]["containerStatuses"][0]["restartCount"] == 1)
    assert "hello" in web.kubectl("logs", "web", "--previous")


def test_debug_looks_into_a_pod_beside_it_and_into_a_node(web: Cluster) -> None:
    """An ephemeral container among the pod's processes; a changed copy; the machine's files."""
    image = ["--image", IMAGE, "--image-pull-policy=IfNotPresent"]
    look = f"{SIZED}; echo [$(cat /proc/1/comm)]; test -t 0 && echo terminal"
    command = [*image, "-it", "-c", "look", "--target=c", "--", "sh", "-c", look]
    said = on_a_terminal(web, ["debug", "web", *command])
    assert "[cat]" in said
    assert "terminal" in said
    assert "[cat]" in web.kubectl("logs", "web", "-c", "look")
    status = web.get("pod", "web")["status"]
    assert status["ephemeralContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 0
    assert status["containerStatuses"][0]["restartCount"] == 0

    copied = ["--copy-to=copy", "--share-processes=false", "-c", "look"]
    web.kubectl("debug", "web", *copied, *image, "--", "sh", "-c", "exec sleep 1000")
    web.kubectl("wait", "pod/copy", "--for=condition=Ready", "--timeout=60s")
    assert web.kubectl("exec", "copy", "-c", "look", "--", "cat", "/proc/1/comm") == "sleep\n"

    said = web.kubectl("debug", "node/node1", *image, "--", "cat", "/host/etc/hostname")
    name = re.findall(r"node-debugger-node1-\w+", said)[0]
    until(lambda: web.get("pod", name)["status"]["phase"] == "Succeeded", what="the debugger")
    assert web.kubectl("logs", name).strip() == "node1"
    web.kubectl("delete", "pod", "copy", name, "--grace-period=1")


@pytest.mark.usefixtures("transport")
def test_cp_copies_both_ways(web: Cluster, tmp_path: Path) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    there.write_bytes(os.urandom(MEGABYTES << 20))
    web.kubectl("cp", str(there), "web:/tmp/file")
    summed = web.kubectl("exec", "web", "--", "md5sum", "/tmp/file")
    assert summed.split()[0] == hashlib.md5(there.read_bytes(), usedforsecurity=False).hexdigest()
    web.kubectl("cp", "web:/tmp/file", str(back))
    assert back.read_bytes() == there.read_bytes()


def forwarded(cluster: Cluster, output: Path, port: int) -> tuple[subprocess.Popen[str], str]:
    """(kubectl port-forward of a port of `web`, the URL of it on this machine)."""
    process = cluster.popen("port-forward", "pod/web", f":{port}", output=output)
    found = until(lambda: re.search(r"Forwarding from (127.0.0.1:\d+) ->", output.read_text()))
    return process, f"http://{found[1]}/"


def fetched(url: str) -> str:
    """What a web server answers; '' when the connection breaks."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            text: str = answer.read().decode()
            return text
    except (OSError, http.client.HTTPException):
        return ""


@pytest.mark.usefixtures("transport")
def test_port_forward_reaches_what_listens_inside_of_the_pod(
    clean: Cluster, tmp_path: Path
) -> None:
    clean.apply(pod("web", ["sh", "-c", SERVES]))
    clean.kubectl("wait", "pod/web", "--for=condition=Ready", "--timeout=60s")
    process, url = forwarded(clean, tmp_path / "output", 8080)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: fetched(url), range(40))) == {"hello\n"}
    process.kill()
    process.wait()
    process, url = forwarded(clean, tmp_path / "refused", 9)
    assert fetched(url) == ""
    until(lambda: "inside the pod: connection refused" in (tmp_path / "refused").read_text())
    process.kill()
    process.wait()


def test_kubernetes_python_client_runs_commands_and_connects(web: Cluster) -> None:
    web.kubectl("exec", "web", "--", "sh", "-c", f"({SERVES}) >/dev/null 2>&1 &")
    until(lambda: ":1F90 " in web.kubectl("exec", "web", "--", "cat", "/proc/net/tcp"))
    shown = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("python_client.py"))],
        env=web.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert shown.stdout.splitlines() == [
        "hi",
        "typed",
        "exit code 3",
        "hello",
        "Internal error occurred: failed to connect to localhost:9 inside the pod: "
        "connection refused",
    ], shown.stderr


@pytest.mark.usefixtures("transport")
def test_what_cannot_be_entered_is_said(web: Cluster) -> None:
    for arguments, words in (
        (["exec", "nobody", "--", "true"], 'pods "nobody" not found'),
        (["exec", "web", "-c", "x", "--", "true"], "container x is not valid for pod web"),
    ):
        done = web.run_kubectl(arguments)
        assert done.returncode == 1
        assert words in done.stderr
    clean = {"restartPolicy": "Never"}
    web.apply(pod("over", ["true"], **clean))
    web.kubectl("wait", "pod/over", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    assert "completed pod" in web.run_kubectl(["exec", "over", "--", "true"]).stderr


def test_only_who_may_create_an_exec_gets_one(web: Cluster) -> None:
    """kubectl asks by GET, for which a right to read pods must not be enough."""
    for role in ("view", "edit"):
        web.kubectl("create", "serviceaccount", role)
        account = f"--serviceaccount=default:{role}"
        web.kubectl("create", "rolebinding", role, f"--clusterrole={role}", account)
    try:
        asked = ["exec", "web", "--as=system:serviceaccount:default:view", "--", "true"]
        done = web.run_kubectl(asked)
        assert done.returncode == 1
        assert 'cannot create resource "pods/exec"' in done.stderr
        web.kubectl("exec", "web", "--as=system:serviceaccount:default:edit", "--", "true")
    finally:
        web.kubectl("delete", "rolebindings,serviceaccounts", "view", "edit", "--ignore-not-found")


def test_a_session_ends_with_its_pod_and_leaves_no_process_behind(
    web: Cluster, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    left = web.popen("exec", "web", "--", "sleep", "987654", output=output)
    counting = ["exec", "web", "--", "sh", "-c", "cat /proc/[0-9]*/cmdline | grep -c 98765[4]"]
    until(lambda: web.run_kubectl(counting).stdout.strip() == "1")
    left.kill()
    left.wait()
    until(lambda: web.run_kubectl(counting).stdout.strip() == "0")
    session = web.popen("exec", "web", "--", "sleep", "987654", output=output)
    until(lambda: web.run_kubectl(counting).stdout.strip() == "1")
    web.kubectl("delete", "pod", "web", "--grace-period=1")
    assert session.wait(timeout=30) != 0


def test_the_same_with_wherry(web: Cluster) -> None:
    command = ["wherry", "exec", "-i", "web", "--", "sh", "-c", "cat; exit 4"]
    done = subprocess.run(
        command, env=web.env, input="typed", capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.returncode) == ("typed", 4)


def test_a_proxy_reaches_pods_at_their_own_address_and_services(clean: Cluster) -> None:
    page = (
        'echo "<a href=/x>$0</a>" > /tmp/index.html; exec httpd -f -p $(hostname -i):8080 -h /tmp'
    )
    clean.apply(
        pod("page", ["sh", "-c", page]),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "page"},
            "spec": {
                "selector": {"test": "e2e"},
                "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
            },
        },
    )
    clean.kubectl("wait", "pod/page", "--for=condition=Ready", "--timeout=60s")
    for base in ("pods/http:page:8080", "services/page:80", "services/page:http"):
        path = f"/api/v1/namespaces/default/{base}/proxy"
        asked = ["get", "--raw", f"{path}/"]
        until(lambda asked=asked: clean.run_kubectl(asked).returncode == 0)
        assert clean.kubectl(*asked) == f'<a href="{path}/x">sh</a>\n'
    refused = clean.run_kubectl(["get", "--raw", "/api/v1/namespaces/default/pods/page:1/proxy/"])
    assert "connection refused" in refused.stderr
    asked = ["get", "--raw", asked[-1], "--as=system:serviceaccount:default:default"]
    assert 'cannot get resource "services/proxy"' in clean.run_kubectl(asked).stderr


@pytest.fixture
def proxied(clean: Cluster, tmp_path: Path) -> Iterator[str]:
    """The URL of a pod `page` of web servers, behind a `kubectl proxy`."""
    clean.apply(pod("page", ["serve"], container={"ports": [{"containerPort": 8080}]}))
    clean.kubectl("wait", "pod/page", "--for=condition=Ready", "--timeout=60s")
    output = tmp_path / "output"
    proxy = clean.popen("proxy", "--port=0", output=output)
    try:
        port = until(lambda: re.search(r":(\d+)\n", output.read_text()))[1]
        yield f"http://127.0.0.1:{port}/api/v1/namespaces/default/pods/page"
    finally:
        proxy.kill()
        proxy.wait()


def test_kubectl_proxy_leads_to_the_pages_of_a_pod(proxied: str) -> None:
    with urllib.request.urlopen(f"{proxied}/proxy", timeout=30) as answer:
        assert answer.url == f"{proxied}/proxy/"
        assert answer.read() == b"hello from page\n"
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(f"{proxied}/proxy/nothing", timeout=30)
    with raised.value as answer:
        assert answer.status == 404
        assert b"metadata" not in answer.read()


def test_a_log_comes_over_a_websocket(proxied: str) -> None:
    async def read() -> list[bytes]:
        async with asyncio.timeout(30), aiohttp.ClientSession() as session:
            offered = ("binary.k8s.io",)
            async with session.ws_connect(f"{proxied}/log", protocols=offered) as socket:
                assert socket.protocol == offered[0]
                return [message.data async for message in socket]

    assert asyncio.run(read()) == [b"", b"page serves on port 8080\n"]
