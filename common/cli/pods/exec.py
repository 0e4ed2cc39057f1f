"""`wherry exec POD [-it] -- COMMAND...` and `wherry attach POD`: processes in containers."""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import ExitStack
from typing import Any

from common.cli.connection import add_namespace, client
from common.cli.pods import terminal
from common.client.conversations import STDERR, RemoteCommand


def add_parser(verbs: Any) -> None:
    """Add both verbs' arguments."""
    executed = verbs.add_parser("exec", help="run a command in a container", allow_abbrev=False)
    _add_pod(executed)
    executed.add_argument(
        "-t", "--tty", action="store_true", help="give the command a terminal; needs one here"
    )
    executed.add_argument("command", nargs="+", help="after --: the command and its arguments")
    executed.set_defaults(run=run_exec)
    attached = verbs.add_parser(
        "attach", help="show what a container's first process writes", allow_abbrev=False
    )
    _add_pod(attached)
    attached.set_defaults(run=run_attach)


def _add_pod(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pod", help="NAME or pod/NAME")
    add_namespace(parser)
    parser.add_argument(
        "-c", "--container", default="", help="which container, if the pod has several"
    )
    parser.add_argument(
        "-i", "--stdin", action="store_true", help="pass standard input to the process"
    )


def run_exec(arguments: argparse.Namespace, **_: object) -> None:
    """Run the command; exits as it does. Raises StatusError."""
    if arguments.tty and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise SystemExit("wherry: a terminal (-t) needs one on standard input and output")
    sys.exit(asyncio.run(_exec(arguments)))


def run_attach(arguments: argparse.Namespace, **_: object) -> None:
    """Show the process until it ends, or until Ctrl-C, which it does not hear of."""
    asyncio.run(_attach(arguments))


async def _exec(arguments: argparse.Namespace) -> int:
    async with client(arguments) as api:
        command = api.exec(
            arguments.namespace,
            pod_name(arguments.pod),
            arguments.command,
            container=arguments.container,
            stdin=arguments.stdin,
            terminal=arguments.tty,
        )
        return await _shown(command, stdin=arguments.stdin, has_terminal=arguments.tty)


async def _attach(arguments: argparse.Namespace) -> int:
    async with client(arguments) as api:
        command = api.attach(
            arguments.namespace,
            pod_name(arguments.pod),
            container=arguments.container,
            stdin=arguments.stdin,
        )
        return await _shown(command, stdin=arguments.stdin, has_terminal=False)


def pod_name(text: str) -> str:
    """The name in NAME or pod/NAME; exits for anything else."""
    kind, slash, name = text.rpartition("/")
    if (slash and kind not in ("pod", "pods", "po")) or not name:
        raise SystemExit(f"wherry: {text!r} is not the name of a pod")
    return name


async def _shown(command: RemoteCommand, *, stdin: bool, has_terminal: bool) -> int:
    """Pass everything on, both ways, until the process has ended; its exit code."""
    async with command, asyncio.TaskGroup() as group:
        with ExitStack() as settings:
            if has_terminal:
                settings.enter_context(terminal.raw(sys.stdin.fileno()))
                settings.enter_context(
                    terminal.sizes(lambda *size: _start(group, command.resize(*size)))
                )
            typing = group.create_task(_type(command)) if stdin else None
            async for stream, data in command:
                output = sys.stderr.buffer if stream == STDERR else sys.stdout.buffer
                output.write(data)
                output.flush()
            if typing is not None:
                typing.cancel()
    return command.exit_code


def _start(group: asyncio.TaskGroup, work: Any) -> None:
    group.create_task(work)


async def _type(command: RemoteCommand) -> None:
    async for data in terminal.typed(sys.stdin.fileno()):
        await command.write(data)
    await command.close_stdin()
