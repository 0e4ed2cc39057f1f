"""wherry-kubelet: flags, join, and then the kubelet until a signal. Containers outlive it."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import signal
import sys
import time
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import uvloop

from common.runtime import process
from common.runtime.backoff import Backoff
from common.runtime.clock import SystemClock
from common.runtime.config import ConfigError
from common.runtime.rng import SystemRng
from common.security.files import InsecurePath, write_private
from common.systemd import exits, journal, levels
from common.systemd.machine import is_going_down
from common.systemd.notify import Notifier
from node import config as configuration
from node import wiring
from node.addresses import AddressChanged
from node.config import KubeletConfig
from node.kubelet.machine import stats as usage
from node.kubelet.machine.node_status import Machine, capacity
from node.session import credentials
from node.session.credentials import Credentials

log = logging.getLogger("node")
NAME = "wherry-kubelet"
POLL_SECONDS = 0.2
SHUTDOWN_SECONDS = 10.0
"""What pods have at the most when the machine goes down."""
JOIN_RETRY = Backoff(initial_seconds=1.0, cap_seconds=10.0)


def main() -> None:
    """Entry point of the console script: ends at once, whatever ends it.

    Calls that Podman does not answer would keep their threads, and so this process, for a minute.
    What a thread writes is whole or not there, as after a crash.
    """
    process.set_title(NAME)
    code = 0
    try:
        _main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else exits.FAILURE
    except BaseException:
        log.exception("the kubelet has failed")
        code = exits.FAILURE
    with suppress(OSError):  # nobody may read them any more
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _main() -> None:
    try:
        config = configuration.parse(sys.argv[1:])
        journal.configure(NAME, encoding=config.log_format)
        machine = make_machine(config)
        directory = Path(config.data_dir) / wiring.PKI
        held = credentials.load(directory)
        if held is None:
            _join(config, directory, machine)
        else:
            uvloop.run(run(config, machine, held, Notifier.take()))
    except (configuration.NoRoute, AddressChanged) as error:
        exits.give_up(NAME, error)
    except (ConfigError, InsecurePath, ValueError) as error:
        exits.give_up(NAME, error, exits.CONFIGURATION)


def _join(config: KubeletConfig, directory: Path, machine: Machine) -> None:
    """Join the cluster, and begin anew: what only joining needs takes 10 MiB of memory.

    A master that is away is waited for; what it refuses, a person must mend.
    """
    from node.session import join

    notifier, failures = Notifier.of(), 0

    def wait(seconds: float = POLL_SECONDS) -> None:
        notifier.alive()
        time.sleep(seconds)

    who = join.Machine(machine.name, machine.machine_id)
    while True:
        try:
            join.join(directory, config.master, config.token_file, who, wait)
            break
        except join.NotNow as error:
            failures += 1
            seconds = JOIN_RETRY.delay_seconds(failures)
            log.warning("cannot join yet", extra={"error": str(error), "again_in_s": seconds})
            notifier.ready(f"waiting for {config.master}, to join")
            wait(seconds)
        except join.JoinFailed as error:
            exits.give_up(NAME, error, exits.CONFIGURATION)
    again = [sys.executable, *sys.orig_argv[1:]]
    os.execv(sys.executable, again)  # noqa: S606 (the same program, no shell)


def make_machine(config: KubeletConfig) -> Machine:
    """What is true of this machine; raises ValueError for a wrong --capacity."""
    cpus, memory_bytes, disk_bytes = usage.host_capacity()
    return Machine(
        name=config.node_name,
        address=config.node_ip,
        capacity=capacity(cpus, memory_bytes, disk_bytes, config.capacity),
        machine_id=wiring.read(Path("/etc/machine-id")) or _own_machine_id(Path(config.data_dir)),
        boot_id=usage.boot_id(),
        os_image=platform.freedesktop_os_release().get("PRETTY_NAME", "Linux"),
        version=metadata.version("wherry"),
    )


def _own_machine_id(directory: Path) -> str:
    """An id for a machine whose system has none, made once; the master knows it again by that."""
    file = directory / "machine-id"
    if not file.exists():
        directory.mkdir(parents=True, exist_ok=True)
        write_private(file, SystemRng().uuid().replace("-", "").encode())
    return file.read_text("ascii")


async def run(
    config: KubeletConfig, machine: Machine, own: Credentials, notifier: Notifier
) -> None:
    """Run until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    levels.follow_signals()
    node = wiring.build(config, machine, own, wiring.real_world(config))

    def ready(trouble: str) -> None:
        node_of = f"node {machine.name} of {config.master}"
        notifier.ready(f"waiting for {config.master}: {trouble}" if trouble else node_of)

    running = asyncio.create_task(node.run(ready), name="node")
    living = asyncio.create_task(notifier.keep_alive(SystemClock()), name="watchdog")
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        await _failed(running)
    notifier.stopping()
    if stop.is_set() and await is_going_down():
        log.info("the machine goes down: pods are stopped")
        await node.halt(SHUTDOWN_SECONDS)
    running.cancel()
    living.cancel()
    await asyncio.gather(running, living, return_exceptions=True)


async def _failed(running: asyncio.Task[None]) -> None:
    """Raise what has ended a node: AddressChanged itself, or a group of errors."""
    try:
        await running
    except* AddressChanged as group:
        raise group.exceptions[0] from None


if __name__ == "__main__":
    main()
