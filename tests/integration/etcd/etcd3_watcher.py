"""A watcher written with python-etcd3 as its users write it; runs in an environment of its own.

Arguments: port, directory with ca.pem, cert.pem and key.pem, number of events to wait for.
Prints what it sees as lines of JSON.
"""

import json
import sys

import etcd3
import grpc

PREFIX = "/wherry/registry/services/"


def say(**what: object) -> None:
    """One line, at once."""
    print(json.dumps(what), flush=True)


def main() -> None:
    """Read, then watch."""
    port, directory, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    client = etcd3.client(
        host="127.0.0.1",
        port=port,
        ca_cert=f"{directory}/ca.pem",
        cert_cert=f"{directory}/cert.pem",
        cert_key=f"{directory}/key.pem",
        timeout=10,
    )
    for value, meta in client.get_prefix(PREFIX):
        say(read=meta.key.decode(), value=value.decode(), revision=meta.mod_revision)
    try:
        client.put("/wherry/registry/services/default/evil", "x")
    except (grpc.RpcError, etcd3.exceptions.Etcd3Exception) as error:
        say(refused=str(error) or type(error).__name__)
    events, cancel = client.watch_prefix(PREFIX)
    say(watching=True)
    for _ in range(count):
        event = next(events)
        say(event=type(event).__name__, key=event.key.decode(), value=event.value.decode())
    cancel()


main()
