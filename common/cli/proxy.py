"""`wherry proxy table|trace`: ask this node's kube-proxy what it knows and where packets go.

Only root may ask: the proxy's socket belongs to it.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from common.runtime.reasons import reason

SOCKET = "/run/wherry/kube-proxy.sock"
TIMEOUT_SECONDS = 10.0
ANSWER_BYTES = 1 << 16
PORT_MAX = 65535
FATES = {
    "endpoints": "goes to",
    "refused": "is refused at once",
    "dropped": "is dropped",
    "untouched": "is left alone",
}


def add_parser(verbs: Any) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser("proxy", help="what this node's kube-proxy knows", allow_abbrev=False)
    parser.set_defaults(local=True)
    parser.add_argument("--socket", default=SOCKET, help=f"default: {SOCKET}")
    actions = parser.add_subparsers(dest="action", required=True)
    table = actions.add_parser("table", help="services and their endpoints", allow_abbrev=False)
    table.set_defaults(run=run_table)
    trace = actions.add_parser(
        "trace", help="where a connection would go, and why", allow_abbrev=False
    )
    trace.add_argument("client", help="the client's address")
    trace.add_argument("destination", help="ADDRESS:PORT")
    trace.add_argument(
        "--udp", action="store_true", help="trace a UDP datagram instead of a TCP connection"
    )
    trace.set_defaults(run=run_trace)


def run_table(arguments: argparse.Namespace) -> None:
    """Print a line for each port of each service, and what is not used."""
    table = ask(arguments.socket, {"ask": "table"})
    rows: list[tuple[str, ...]] = [
        ("SERVICE", "ADDRESS", "NODE PORT", "AFFINITY", "ENDPOINTS (* on this node)")
    ]
    for port in table["ports"]:
        affinity = port["affinity_seconds"]
        rows.append(
            (
                port["title"],
                f"{port['cluster_ip']}:{port['port']}",
                str(port["node_port"] or "-"),
                f"ClientIP {affinity} s" if affinity else "-",
                ", ".join(_endpoints(port)) or "none: connections are refused",
            )
        )
    for line in _aligned(rows):
        print(line)
    for one in table["refused"]:
        print(f"not used: endpoint {one['address']} of {one['service']}: {one['reason']}")


def run_trace(arguments: argparse.Namespace) -> None:
    """Print where a connection would go, and each reason."""
    address, _, port = arguments.destination.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) <= PORT_MAX:
        sys.exit(f"wherry: {arguments.destination!r} is not ADDRESS:PORT")
    protocol = "udp" if arguments.udp else "tcp"
    question = {
        "ask": "trace",
        "client": arguments.client,
        "address": address,
        "port": int(port),
        "protocol": protocol,
    }
    answer = ask(arguments.socket, question)
    fate = f"{FATES[answer['fate']]} {' or '.join(answer['endpoints'])}".rstrip()
    print(f"{arguments.client} -> {arguments.destination}/{protocol} {fate}")
    for why in answer["why"]:
        print(f"  because {why}")
    if answer["masqueraded"]:
        print("  the endpoint sees an address of this node as its client")


def ask(path: str, question: dict[str, Any]) -> dict[str, Any]:
    """One question and its answer; ends the program with what is wrong."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TIMEOUT_SECONDS)
            connection.connect(path)
            connection.sendall(json.dumps(question).encode() + b"\n")
            answer = b"".join(iter(lambda: connection.recv(ANSWER_BYTES), b""))
    except OSError as error:
        sys.exit(f"wherry: cannot ask kube-proxy at {path}: {reason(error)}")
    try:
        reply: dict[str, Any] = json.loads(answer)
    except ValueError:
        sys.exit(f"wherry: kube-proxy at {path} gave no whole answer")
    if "error" in reply:
        sys.exit(f"wherry: {reply['error']}")
    return reply


def _endpoints(port: dict[str, Any]) -> Iterator[str]:
    for endpoint in port["endpoints"]:
        yield endpoint + ("*" if endpoint in port["local_endpoints"] else "")


def _aligned(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Columns as wide as their widest cell, the last one free."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        yield "  ".join([*cells, row[-1]]).rstrip()
