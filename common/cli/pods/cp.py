"""`wherry cp FILE POD:PATH` and `wherry cp POD:PATH FILE`: files and directories, by the pod's tar.

What a pod sends is taken for hostile: nothing is written outside of the destination, and links are
left out, as `kubectl cp` does.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import posixpath
import shutil
import sys
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from common.cli.connection import add_namespace, client
from common.cli.pods import terminal
from common.client.conversations import STDOUT, RemoteCommand
from common.client.grpc import GrpcClient
from common.runtime.offload import Offload


class Place(NamedTuple):
    """A path, in a pod or on this machine."""

    namespace: str
    pod: str
    """Empty on this machine."""
    path: str


def add_parser(verbs: Any) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser(
        "cp", help="copy files to and from containers; needs tar in the image", allow_abbrev=False
    )
    parser.add_argument("source", help="FILE, or [NAMESPACE/]POD:PATH")
    parser.add_argument("destination", help="the other of the two")
    add_namespace(parser)
    parser.add_argument(
        "-c", "--container", default="", help="which container, if the pod has several"
    )
    parser.set_defaults(run=run)


def place(text: str, namespace: str) -> Place:
    """What an argument means; exits for a pod without a path."""
    pod, colon, path = text.partition(":")
    if not colon:
        return Place("", "", text)
    own, slash, name = pod.rpartition("/")
    if not name or not path:
        raise SystemExit(f"wherry: {text!r} is not [NAMESPACE/]POD:PATH")
    return Place(own if slash else namespace, name, path)


def run(arguments: argparse.Namespace, **_: object) -> None:
    """Copy; exits with what tar says when that fails. Raises StatusError and OSError."""
    source = place(arguments.source, arguments.namespace)
    destination = place(arguments.destination, arguments.namespace)
    if bool(source.pod) == bool(destination.pod):
        raise SystemExit("wherry: cp needs one path in a pod (POD:PATH) and one here")
    if destination.pod:
        file = Path(source.path)
        file.lstat()  # before anything is asked of the pod
        asyncio.run(_upload(arguments, file.absolute(), destination))
        return
    target = Path(destination.path)
    if target.is_dir() or destination.path.endswith("/"):
        target /= posixpath.basename(source.path.rstrip("/"))
    asyncio.run(_download(arguments, source, target))


async def _upload(arguments: argparse.Namespace, file: Path, destination: Place) -> None:
    async with client(arguments) as api:
        target = destination.path.rstrip("/") or "/"
        is_inside = destination.path.endswith("/")
        if is_inside or await _is_directory(api, arguments.container, destination):
            target = posixpath.join(target, file.name)
        above, name = posixpath.split(target)
        command = api.exec(
            destination.namespace,
            destination.pod,
            ["tar", "-xmf", "-", "-C", above or "."],
            container=arguments.container,
            stdin=True,
        )
        with closing(Offload(threads=1, name="cp")) as offload, _pipe() as (reading, writing):
            packing = asyncio.ensure_future(offload(_pack, writing, file, name))
            errors = b""
            async with command, asyncio.TaskGroup() as group:
                sending = group.create_task(_send(command, reading, packing))
                async for _, data in command:
                    errors = (errors + data)[-terminal.READ_BYTES :]
                sending.cancel()
        _check(command.exit_code, errors)


@contextmanager
def _pipe() -> Iterator[tuple[int, BinaryIO]]:
    """Both ends; who writes closes its own, and hears of it when nobody reads any more."""
    reading, writing = os.pipe()
    try:
        yield reading, os.fdopen(writing, "wb")
    finally:
        os.close(reading)


async def _send(command: RemoteCommand, reading: int, packing: asyncio.Future[None]) -> None:
    """What is packed, to its end."""
    async for data in terminal.typed(reading):
        await command.write(data)
    await packing
    await command.close_stdin()


async def _is_directory(api: GrpcClient, container: str, where: Place) -> bool:
    words = ["test", "-d", where.path]
    async with api.exec(where.namespace, where.pod, words, container=container) as command:
        async for _ in command:
            pass
    return command.exit_code == 0


def _pack(writing: BinaryIO, file: Path, name: str) -> None:
    """Write an archive; whoever reads it may have enough of it."""
    try:
        with writing, tarfile.open(fileobj=writing, mode="w|") as archive:
            archive.add(file, arcname=name)
    except BrokenPipeError:
        return


async def _download(arguments: argparse.Namespace, source: Place, target: Path) -> None:
    above, name = posixpath.split(source.path.rstrip("/") or "/")
    async with client(arguments) as api:
        command = api.exec(
            source.namespace,
            source.pod,
            ["tar", "-cf", "-", "-C", above or ".", name or "."],
            container=arguments.container,
        )
        errors = b""
        with closing(Offload(threads=2, name="cp")) as offload:
            reading, writing = os.pipe()
            async with command, asyncio.TaskGroup() as group:
                group.create_task(offload(_unpack_all, reading, target))
                with os.fdopen(writing, "wb") as archive:
                    async for stream, data in command:
                        if stream == STDOUT:
                            await offload(archive.write, data)
                        else:
                            errors = (errors + data)[-terminal.READ_BYTES :]
        _check(command.exit_code, errors)


def _unpack_all(reading: int, target: Path) -> None:
    with os.fdopen(reading, "rb") as archive:
        for left_out in unpack(archive, target):
            print(f"wherry: left out: {left_out}", file=sys.stderr)
        while archive.read(terminal.READ_BYTES):
            pass  # tar fills its last block


def unpack(archive: BinaryIO, target: Path) -> list[str]:
    """Write what an archive holds to a place; the first part of each name stands for the place.

    Answers the names of what was left out: links, devices, and whatever leads elsewhere.
    """
    left_out = []
    try:
        with tarfile.open(fileobj=archive, mode="r|") as entries:
            for entry in entries:
                if not _write(entries, entry, target):
                    left_out.append(entry.name)
    except tarfile.ReadError as error:
        if str(error) != "empty file":  # tar has found nothing, and says so itself
            raise OSError(f"the pod has sent no archive: {error}") from error
    return left_out


def _write(entries: tarfile.TarFile, entry: tarfile.TarInfo, target: Path) -> bool:
    """Write one entry; False for one that may not be written."""
    parts = entry.name.split("/")[1:]
    is_odd = "\0" in entry.name or any(part in ("", ".", "..") for part in parts)
    if is_odd or not (entry.isreg() or entry.isdir()):
        return False
    path = target.joinpath(*parts)
    if entry.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return True
    content = entries.extractfile(entry)
    assert content is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        shutil.copyfileobj(content, file)
    path.chmod(entry.mode & 0o777)
    return True


def _check(exit_code: int, errors: bytes) -> None:
    """Exit with what tar says when it has failed."""
    text = errors.decode("utf-8", "replace").strip()
    if exit_code:
        raise SystemExit(f"wherry: {text or f'tar has failed with exit code {exit_code}'}")
    if text:
        print(text, file=sys.stderr)
