"""Runs commands in the pod `web` and connects to it by Kubernetes' own Python client.

A program of its own: the client leaves sockets open, which tests must not. It speaks the older
protocols: v4 for commands, a channel a port for connections. Prints what it has seen.
"""

from __future__ import annotations

from kubernetes import client, config
from kubernetes.stream import portforward, stream

AT = {"name": "web", "namespace": "default"}


def main() -> None:
    """What the streams of the client answer."""
    core = client.CoreV1Api(config.new_client_from_config())
    execute, forward = (
        core.connect_get_namespaced_pod_exec,
        core.connect_get_namespaced_pod_portforward,
    )
    print(stream(execute, **AT, command=["echo", "hi"], stdout=True), end="")
    typing = stream(
        execute,
        **AT,
        command=["sh", "-c", "read line; echo $line >&2; exit 3"],
        stdin=True,
        stderr=True,
        stdout=True,
        _preload_content=False,
    )
    typing.write_stdin("typed\n")
    typing.run_forever(timeout=30)
    print(typing.read_stderr(), end="")
    print("exit code", typing.returncode)
    ports = portforward(forward, **AT, ports="8080,9")
    connection = ports.socket(8080)
    connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
    answer = b""
    while data := connection.recv(4096):
        answer += data
    print(answer.decode().splitlines()[-1])
    print(ports.error(9))


if __name__ == "__main__":
    main()
