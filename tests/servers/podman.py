"""A real Podman service for tests: own storage, settings, locks and socket, gone afterwards.

Import `podman` into a conftest.py or a test module. It holds one image, `TEST_IMAGE`: busybox.
"""

import asyncio
import contextlib
import io
import os
import shutil
import signal
import tarfile
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

TEST_IMAGE = "localhost/wherry-test:1"
BUSYBOX = "/bin/busybox"
APPLETS = (
    "sh",
    "cat",
    "echo",
    "env",
    "false",
    "grep",
    "head",
    "hostname",
    "id",
    "ls",
    "mkdir",
    "sleep",
    "tail",
    "tr",
    "true",
)
_START_SECONDS = 30.0


@dataclass
class Podman:
    """One service and its directory, which must be short: a socket's path has 107 characters."""

    directory: Path
    exit_command_delay_seconds: int
    """How long Podman remembers a command that has ended."""
    process: asyncio.subprocess.Process | None = None

    @property
    def socket_path(self) -> str:
        """Where the REST API answers."""
        return str(self.directory / "podman.sock")

    @property
    def environment(self) -> dict[str, str]:
        """What `podman` needs to work on this storage alone."""
        return {
            "PATH": os.environ["PATH"],
            "CONTAINERS_CONF": str(self.directory / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.directory / "storage.conf"),
            "TMPDIR": str(self.directory),
        }

    async def run(self, *arguments: str) -> str:
        """`podman ARGUMENTS`; what it prints. Fails with its own words."""
        process = await asyncio.create_subprocess_exec(
            "podman",
            *arguments,
            env=self.environment,
            cwd=self.directory,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        printed, errors = await process.communicate()
        assert process.returncode == 0, f"podman {' '.join(arguments)}: {errors.decode()}"
        return printed.decode().strip()

    async def start(self) -> None:
        """Start the service and wait until it listens."""
        Path(self.socket_path).unlink(missing_ok=True)
        with (self.directory / "service.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                "podman",
                *("system", "service", "-t", "0", f"unix://{self.socket_path}"),
                env=self.environment,
                cwd=self.directory,  # conmon leaves a file `oom` where the service was started
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        async with asyncio.timeout(_START_SECONDS):
            while not await self._listens():
                assert self.process.returncode is None, self._said()
                await asyncio.sleep(0.02)

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_unix_connection(self.socket_path)
        except OSError:
            return False
        writer.close()
        return True

    def _said(self) -> str:
        return (self.directory / "service.log").read_text()

    async def kill(self, number: int = signal.SIGKILL) -> None:
        """End the service; containers run on."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(number)
            await self.process.wait()

    async def remove_all(self) -> None:
        """The service, containers, mounts and files go, in this order: what the service is still
        asked to do would come between a container and its removal."""
        await self.kill(signal.SIGTERM)
        try:
            await self.run("rm", "--all", "--force", "--time", "0")
        finally:
            await self._end_the_rest()
            for point in reversed(_mounts_below(self.directory)):
                await (await asyncio.create_subprocess_exec("umount", "-l", point)).wait()
            shutil.rmtree(self.directory)

    async def _end_the_rest(self) -> None:
        """The conmon of a command that has ended waits long, and then starts a `podman container
        cleanup`, which would mount the storage once more."""
        async with asyncio.timeout(_START_SECONDS):
            while left := _users_of(self.directory):
                for pid in left:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                await asyncio.sleep(0.02)


def require_podman() -> None:
    """Skip the test where Podman cannot be used; fail it in CI."""
    missing = [name for name in ("podman", "runc", "conmon") if shutil.which(name) is None]
    if not Path(BUSYBOX).exists():
        missing.append(BUSYBOX)
    if os.geteuid() != 0:
        missing.append("root")
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"CI must have {', '.join(missing)}")
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


@asynccontextmanager
async def running_podman(exit_command_delay_seconds: int = 300) -> AsyncIterator[Podman]:
    """A started service with `TEST_IMAGE`."""
    require_podman()
    directory = Path(tempfile.mkdtemp(prefix="wpod-", dir="/tmp"))
    service = Podman(directory, exit_command_delay_seconds)
    _write_settings(service)
    try:
        await service.run("import", str(_image(service.directory)), TEST_IMAGE)
        await service.start()
        yield service
    finally:
        await service.remove_all()


@pytest.fixture
async def podman() -> AsyncIterator[Podman]:
    """A fresh service."""
    async with running_podman() as service:
        yield service


def _write_settings(service: Podman) -> None:
    """Settings that work on cgroup v1, hybrid and v2, and without CAP_SYS_RESOURCE: limits that
    are not above the hard ones, runc (crun refuses hybrid), locks in files and not in /dev/shm."""
    directory = service.directory
    (directory / "containers.conf").write_text(
        f"""\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
exit_command_delay = {service.exit_command_delay_seconds}
tmp_dir = "{directory}/tmp"
[network]
network_backend = "netavark"
network_config_dir = "{directory}/networks"
"""
    )
    (directory / "storage.conf").write_text(
        f"""\
[storage]
driver = "overlay"
graphroot = "{directory}/storage"
runroot = "{directory}/run"
"""
    )


def _image(directory: Path) -> Path:
    """The archive of a root file system: busybox and links to it."""
    path = directory / "image.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(BUSYBOX, arcname="bin/busybox")
        for name in APPLETS:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
        for name in ("tmp", "dev", "proc", "sys", "etc"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        plain = tarfile.TarInfo("etc/not-a-program")
        plain.size, plain.mode = 2, 0o644
        archive.addfile(plain, io.BytesIO(b"x\n"))
    return path


def _users_of(directory: Path) -> list[int]:
    """The processes that were started with the directory's name."""
    name, found = f"{directory}/".encode(), []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if name in path.read_bytes():
                found.append(int(path.parent.name))
    return found


def _mounts_below(directory: Path) -> list[str]:
    with Path("/proc/self/mountinfo").open() as file:
        points = [line.split(" ")[4] for line in file]
    return [point for point in points if point.startswith(f"{directory}/")]
