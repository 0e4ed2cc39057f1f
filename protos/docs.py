"""Makes docs/grpc.md from the comments of cluster_v1.proto: `python -m protos.docs`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from protos.codegen import described

PAGE = "docs/grpc.md"
SERVICE_FILE, USAGE_FILE = "cluster_v1.proto", "node_v1.proto"
# Numbers of the members of descriptors, as paths to comments have them.
FILE_SYNTAX, MESSAGES, ENUMS, SERVICES = 12, 4, 5, 6
FIELDS, METHODS, VALUES, NESTED_ENUMS = 2, 2, 2, 4
USAGE = ("NodeUsage", "PodUsage", "ContainerUsage")
INTRO = """\
<!-- Made from protos/cluster_v1.proto by `python -m protos.docs`. Do not edit. -->
# gRPC for scripts

{about}

| port | credentials |
|---|---|
| 6444 | a client certificate, as the administrator's kubeconfig has it (the nodes' port) |
| 6445 | `authorization: Bearer TOKEN` in the metadata of each call |

Both are TLS with the cluster's own authority (`https://MASTER:6443/cacerts`), and the rules of who
may do what are those of the REST API. Both serve `grpc.health.v1` (6445 without credentials) and
server reflection, so that grpcurl needs no files:

    # On the master; with deploy/local, put `deploy/local shell master` in front of `cat`.
    TOKEN=$(cat /var/lib/wherry/master/admin.token)
    curl --insecure --silent https://MASTER:6443/cacerts > ca.crt
    grpcurl -cacert ca.crt -H "authorization: Bearer $TOKEN" \\
        -d '{{"resource": {{"kind": "Pod"}}}}' MASTER:6445 wherry.v1.Cluster/List

`--insecure` trusts whoever answers, once: where that is too much, take the authority from the
kubeconfig (`certificate-authority-data`, base64). Examples are in `deploy/examples/grpc/`, the
Python library is in `docs/client-library.md`.

An error has one of these codes, a message, and Kubernetes' Status in `wherry-status-bin`:

| Status | gRPC code |
|---|---|
| 400, 406, 415, 422 | INVALID_ARGUMENT |
| 401 | UNAUTHENTICATED |
| 403 | PERMISSION_DENIED |
| 404 | NOT_FOUND |
| 405 | UNIMPLEMENTED |
| 409 AlreadyExists | ALREADY_EXISTS |
| 409 Conflict | ABORTED |
| 410 | OUT_OF_RANGE |
| 413, 429 | RESOURCE_EXHAUSTED |
| 500 | INTERNAL |
| 502, 503 | UNAVAILABLE |
| 504 | DEADLINE_EXCEEDED |
"""


def render(root: Path) -> str:
    """The page; `root` is the directory that holds protos/. Raises KeyError without a comment."""
    files = {Path(file.name).name: file for file in described(root, [SERVICE_FILE, USAGE_FILE])}
    service_file, usage_file = files[SERVICE_FILE], files[USAGE_FILE]
    comments = _comments(service_file)
    lines = [INTRO.format(about=comments[(FILE_SYNTAX,)])]
    for number, service in enumerate(service_file.service):
        lines += [f"## Service {service_file.package}.{service.name}", ""]
        lines += [comments[(SERVICES, number)], ""]
        lines += ["| method | takes | answers | |", "|---|---|---|---|"]
        for index, method in enumerate(service.method):
            stream = "stream of " if method.server_streaming else ""
            takes, answers = _link(method.input_type), _link(method.output_type)
            text = comments[(SERVICES, number, METHODS, index)]
            lines.append(f"| `{method.name}` | {takes} | {stream}{answers} | {text} |")
    lines += ["", "## Messages", ""]
    for number, message in enumerate(service_file.message_type):
        lines += _message(message, (MESSAGES, number), comments)
    usage_comments = _comments(usage_file)
    for number, message in enumerate(usage_file.message_type):
        if message.name in USAGE:
            lines += _message(message, (MESSAGES, number), usage_comments)
    for number, enum in enumerate(service_file.enum_type):
        lines += _enum(enum.name, enum, (ENUMS, number), comments)
    return "\n".join(lines).rstrip() + "\n"


def _comments(file: Any) -> dict[tuple[int, ...], str]:
    """The comment at each place of a file, paragraphs joined to one line each."""
    found = {}
    for location in file.source_code_info.location:
        if location.leading_comments:
            text = location.leading_comments.replace("\0", "")
            found[tuple(location.path)] = " ".join(text.split()).replace("|", "\\|")
    return found


def _message(
    message: Any, path: tuple[int, ...], comments: dict[tuple[int, ...], str]
) -> Iterator[str]:
    """The section of one message, and of the enums in it."""
    yield from (f"### {message.name}", "", comments[path], "")
    yield from ("| field | type | |", "|---|---|---|")
    for index, field in enumerate(message.field):
        text = comments[(*path, FIELDS, index)]
        yield f"| `{field.name}` | {_type(field)} | {text} |"
    yield ""
    for index, enum in enumerate(message.enum_type):
        name = f"{message.name}.{enum.name}"
        yield from _enum(name, enum, (*path, NESTED_ENUMS, index), comments)


def _enum(
    name: str, enum: Any, path: tuple[int, ...], comments: dict[tuple[int, ...], str]
) -> Iterator[str]:
    """The section of one enum."""
    yield from (f"### {name}", "", comments[path], "", "| value | |", "|---|---|")
    for index, value in enumerate(enum.value):
        yield f"| `{value.name}` = {value.number} | {comments[(*path, VALUES, index)]} |"
    yield ""


def _type(field: Any) -> str:
    """A field's type, with a link when it is one of ours."""
    if field.type_name:
        name = _link(field.type_name)
    else:
        name = field.Type.Name(field.type).removeprefix("TYPE_").lower()
    if field.label == field.LABEL_REPEATED:
        return f"list of {name}"
    return f"{name}, may be absent" if field.proto3_optional else name


def _link(type_name: str) -> str:
    """`.wherry.v1.WatchEvent.Type` as a link to its section."""
    short = type_name.removeprefix(".wherry.v1.").removeprefix(".wherry.node.v1.")
    return f"[{short}](#{short.lower().replace('.', '')})"


if __name__ == "__main__":
    import protos

    root = Path(protos.__file__).resolve().parent.parent
    (root / PAGE).write_text(render(root))
