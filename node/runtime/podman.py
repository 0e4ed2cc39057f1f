"""Podman as the container runtime, over its REST API on a unix socket.

Podman's answers are translated here (what it and podman-py get wrong:
docs/decisions/0003-podman-door.md). Nothing here waits for a container or retries.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from common.runtime.offload import Offload
from node.runtime import base, cgroups, podman_json
from node.runtime.base import (
    ContainerSpec,
    ContainerStatus,
    ExecResult,
    ImageStatus,
    Limits,
    Stdio,
    Streams,
)
from node.runtime.oom import was_oom_killed
from node.runtime.podman_exec import PodmanExec
from node.runtime.podman_service import PodmanError, PodmanService
from node.runtime.reference import qualified

log = logging.getLogger(__name__)
PULL_SILENCE_SECONDS = 1800.0
"""A pull that says nothing for so long is given up: it keeps others from their turn."""
_CAP_SYS_RESOURCE = 24


class PodmanRuntime:
    """The Runtime protocol on one Podman service."""

    def __init__(self, socket_path: str, offload: Offload) -> None:
        self._service = PodmanService(socket_path, offload)
        self._offload = offload
        self._exec = PodmanExec(self._service)
        self._known: dict[str, tuple[str, ContainerStatus]] = {}

    def close(self) -> None:
        """Close the connections to the service; no call may be under way."""
        self._service.close()

    async def version(self) -> str:
        """Podman's version, such as 4.3.1."""
        return str((await self._ask("/version"))["Version"])

    async def list_containers(self) -> list[ContainerStatus]:
        """Every container of ours; details are asked for only where something has changed.

        Podman's own filter matches labels only: what just carries them is left out here.
        """
        filters = {"label": [base.LABEL_POD_UID]}
        listed = await self._ask("/containers/json", {"all": "true", "filters": _json(filters)})
        known = {}
        for entry in filter(podman_json.is_ours_listed, listed or ()):
            mark = f"{entry['State']}/{entry['StartedAt']}/{entry['Pid']}"
            former = self._known.get(entry["Id"])
            if former is not None and former[0] == mark:
                known[entry["Id"]] = former
            elif (status := await self._listed(entry["Id"])) is not None:
                known[entry["Id"]] = (mark, status)
        self._known = known
        return [status for _, status in known.values()]

    async def _listed(self, container_id: str) -> ContainerStatus | None:
        """A container that was listed as ours; None when it has gone, or been renamed, since."""
        try:
            return await self.container_status(container_id)
        except base.NotOurs:
            return None

    async def container_status(self, container_id: str) -> ContainerStatus | None:
        """One container of ours, or None when it is gone."""
        try:
            answer = await self._service.call("GET", f"/containers/{container_id}/json")
        except PodmanError as error:
            if error.is_missing:
                return None
            raise base.RuntimeUnavailable(error.message) from error
        if not podman_json.is_ours_inspected(answer):
            raise base.NotOurs(f"container {container_id} was not made by Wherry")
        status = podman_json.container_status(answer)
        if status.state == "running":
            return replace(status, limits=await self._offload(cgroups.limits, status.cgroup_path))
        if status.state != "exited" or status.exit_code == 0 or status.oom_killed:
            return status
        return replace(status, oom_killed=await self._offload(was_oom_killed, container_id))

    async def create_container(self, spec: ContainerSpec) -> str:
        """Make a container, or find the one that a former try has made."""
        image = qualified(spec.image)
        if spec.log_path:
            await self._offload(os.makedirs, Path(spec.log_path).parent, exist_ok=True)
        spec = replace(spec, oom_score_adj=permitted_oom_score_adj(spec.oom_score_adj))
        body = podman_json.container_body(spec) | {"image": image}
        try:
            answer = await self._service.call("POST", "/containers/create", body=body)
        except PodmanError as error:
            if "already in use" in error.message:
                return await self._id_of(spec)
            if "image not known" in error.message or "no such image" in error.message.lower():
                raise base.ImageNotFound(error.message) from error
            raise base.CreateFailed(error.message) from error
        if spec.oci_runtime:
            await self._check_runtime(str(answer["Id"]), spec.oci_runtime)
        return str(answer["Id"])

    async def _check_runtime(self, container_id: str, wanted: str) -> None:
        """Podman passes over a runtime that it cannot choose, and takes its own: a pod that asks
        for more isolation must not get less."""
        found = (await self._ask(f"/containers/{container_id}/json")).get("OCIRuntime", "")
        if Path(found).name != wanted:
            await self.remove_container(container_id)
            raise base.CreateFailed(f"Podman would run it with {found}, not with {wanted}")

    async def _id_of(self, spec: ContainerSpec) -> str:
        """The id of the container with a spec's name; it must be ours."""
        answer = await self._ask(f"/containers/{spec.runtime_name}/json")
        if not podman_json.is_ours_inspected(answer):
            raise base.NotOurs(f"container {spec.runtime_name} was not made by Wherry")
        return str(answer["Id"])

    async def start_container(self, container_id: str) -> None:
        """Start its process; Podman would start one that has ended once more."""
        status = await self.container_status(container_id)
        if status is None:
            raise base.ContainerNotFound(f"no such container {container_id}")
        if status.state != "created":
            return
        try:
            await self._service.call("POST", f"/containers/{container_id}/start")
        except PodmanError as error:
            raise base.StartFailed(error.message) from error

    async def signal_container(self, container_id: str, signal: str) -> None:
        """Send a signal to its first process; Podman refuses it for one that has ended."""
        if not await self._is_there(container_id):
            return
        path = f"/containers/{container_id}/kill"
        try:
            await self._service.call("POST", path, params={"signal": signal})
        except PodmanError as error:
            if not error.is_missing and "state improper" not in error.message:
                raise base.RuntimeUnavailable(error.message) from error

    async def set_limits(self, container_id: str, limits: Limits) -> None:
        """Hold a running container to other limits.

        The kernel would kill for memory (v2), or refuse without saying why (v1): its use is asked
        for before.
        """
        status = await self.container_status(container_id)
        if status is None:
            raise base.ContainerNotFound(f"no such container {container_id}")
        used = await self._offload(cgroups.memory_bytes, status.cgroup_path)
        if limits.memory_bytes and limits.memory_bytes <= used:
            raise base.BelowUsage(limits.memory_bytes, used)
        self._known.pop(container_id, None)
        path, body = f"/containers/{container_id}/update", podman_json.limits_body(limits)
        try:
            await self._service.call("POST", path, body=body)
        except PodmanError as error:
            raise base.LimitsRefused(error.message) from error

    async def remove_container(self, container_id: str) -> None:
        """Remove it; `timeout=0` kills at once, where podman-py's `force` waits for ten seconds."""
        if not await self._is_there(container_id):
            return
        params = {"force": "true", "timeout": "0", "v": "true"}
        try:
            await self._service.call("DELETE", f"/containers/{container_id}", params=params)
        except PodmanError as error:
            if not error.is_missing:
                raise base.RuntimeUnavailable(error.message) from error

    async def _is_there(self, container_id: str) -> bool:
        """Whether a container is there; raises NotOurs for one that is not ours."""
        return container_id in self._known or await self.container_status(container_id) is not None

    async def exec_sync(
        self, container_id: str, command: Sequence[str], *, timeout_seconds: float
    ) -> ExecResult:
        """Run a command in a container of ours."""
        if not await self._is_there(container_id):
            raise base.ExecFailed(f"no such container {container_id}")
        return await self._exec.run(container_id, command, timeout_seconds)

    @asynccontextmanager
    async def exec(
        self, container_id: str, command: Sequence[str], stdio: Stdio
    ) -> AsyncIterator[Streams]:
        """A command that runs in a container of ours."""
        if not await self._is_there(container_id):
            raise base.ExecFailed(f"no such container {container_id}")
        async with self._exec.start(container_id, command, stdio) as streams:
            yield streams

    @asynccontextmanager
    async def attach(self, container_id: str, stdio: Stdio) -> AsyncIterator[Streams]:
        """The streams of the first process of a container of ours."""
        status = await self.container_status(container_id)
        if status is None or status.state != "running":  # Podman would say nothing, for ever
            raise base.AttachFailed(f"container {container_id} is not running")
        async with self._exec.attach(container_id, stdio) as streams:
            yield streams

    async def image_status(self, reference: str) -> ImageStatus | None:
        """The image, or None."""
        image = qualified(reference)
        try:
            answer = await self._service.call("GET", f"/images/{image}/json")
        except PodmanError as error:
            if error.code == 404:
                return None
            raise base.RuntimeUnavailable(error.message) from error
        return podman_json.image_status(answer)

    async def list_images(self) -> list[ImageStatus]:
        """Every image on this machine."""
        return [podman_json.image_status(image) for image in await self._ask("/images/json") or ()]

    async def load_images(self, archive: AsyncIterator[bytes], size_bytes: int) -> list[str]:
        """Take the images of an archive; Podman keeps it in a file until all of it is there."""
        try:
            answer = await self._service.upload("/images/load", archive, size_bytes)
        except PodmanError as error:
            raise base.ImageLoadFailed(error.message) from error
        return [str(name) for name in answer.get("Names") or ()]

    async def pull_image(
        self, reference: str, *, credentials: tuple[str, str] | None = None
    ) -> None:
        """Fetch an image; the stream's own error line decides, for Podman answers 200 early.

        It says when a layer is begun, and nothing until the layer is whole.
        """
        params = {"reference": qualified(reference), "policy": "always"}
        headers = {} if credentials is None else _authorization(*credentials)
        lines = self._service.lines("POST", "/images/pull", params=params, headers=headers)
        try:
            async with asyncio.timeout(PULL_SILENCE_SECONDS) as limit, aclosing(lines) as stream:
                async for line in stream:
                    limit.reschedule(asyncio.get_running_loop().time() + PULL_SILENCE_SECONDS)
                    if line.get("error"):
                        raise base.ImagePullFailed(str(line["error"]))
        except TimeoutError as error:
            text = f"no progress for {PULL_SILENCE_SECONDS:g} seconds"
            raise base.ImagePullFailed(text) from error
        except PodmanError as error:
            raise base.ImagePullFailed(error.message) from error

    async def _ask(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        """A read to which every error means that the service does not work."""
        try:
            return await self._service.call("GET", path, params=params)
        except PodmanError as error:
            raise base.RuntimeUnavailable(error.message) from error


def permitted_oom_score_adj(value: int, status_path: str = "/proc/self/status") -> int:
    """The value, or 0 for a negative one where the machine may not lower it: no container would
    start. Kubernetes wants -997 for Guaranteed pods; without CAP_SYS_RESOURCE that is a wish."""
    if value >= 0:
        return value
    with Path(status_path).open() as file:
        effective = next(line.split()[1] for line in file if line.startswith("CapEff:"))
    return value if int(effective, 16) >> _CAP_SYS_RESOURCE & 1 else 0


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _authorization(username: str, password: str) -> dict[str, str]:
    plain = msgspec.json.encode({"username": username, "password": password})
    return {"X-Registry-Auth": base64.urlsafe_b64encode(plain).decode()}
