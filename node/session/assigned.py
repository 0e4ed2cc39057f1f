"""What was assigned, on disk: so that a kubelet goes on after a restart while the master is away.

Pods, ConfigMaps and Services are kept in the data directory, Secrets on tmpfs only. A file that
cannot be read counts as absent: the master will tell again. After a boot nothing runs, and what was
assigned before may run elsewhere by now: it counts again when the master has told everything.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from pathlib import Path

from google.protobuf.message import DecodeError

from common.api.codec import json as codec
from common.api.types.core_v1 import Pod
from common.security.files import make_private_directory, write_private
from protos import node_v1_pb2

log = logging.getLogger(__name__)


class AssignedStore:
    """One file a pod, and one for its Secrets. Blocking: runs in an Offload.

    `mark` is a file that a boot removes: while it is there, what is kept counts.
    """

    def __init__(self, directory: Path, secrets: Path, mark: Path) -> None:
        self._directory = directory
        self._secrets = secrets
        self._mark = mark
        for path in (directory, secrets):
            make_private_directory(path)

    def save(self, uid: str, assignment: node_v1_pb2.PodAssignment) -> None:
        """Keep an assignment."""
        without = node_v1_pb2.PodAssignment(
            pod=assignment.pod,
            config_maps=assignment.config_maps,
            services=assignment.services,
            runtime_class=assignment.runtime_class,
        )
        write_private(self._directory / uid, without.SerializeToString())
        if assignment.secrets:
            secrets = node_v1_pb2.PodAssignment(secrets=assignment.secrets)
            write_private(self._secrets / uid, secrets.SerializeToString())
        else:
            (self._secrets / uid).unlink(missing_ok=True)

    def remove(self, uid: str) -> None:
        """Forget an assignment."""
        for directory in (self._directory, self._secrets):
            (directory / uid).unlink(missing_ok=True)

    def synced(self, uids: Collection[str]) -> None:
        """The master has told of every pod that is bound here: forget all others.

        The mark comes last: what was kept before a boot counts without the others only.
        """
        for directory in (self._directory, self._secrets):
            for file in directory.iterdir():
                if file.name not in uids:
                    file.unlink(missing_ok=True)
        self._mark.touch()

    def load(self) -> Iterable[node_v1_pb2.PodAssignment]:
        """Every assignment that counts and can be read."""
        if not self._mark.exists():
            return
        for file in sorted(self._directory.iterdir()):
            if file.name.startswith("."):
                continue
            try:
                yield self._read(file)
            except (OSError, DecodeError, ValueError) as error:
                log.warning("unreadable assignment", extra={"object": file.name, "error": error})

    def _read(self, file: Path) -> node_v1_pb2.PodAssignment:
        """One assignment with its Secrets, where they are still there."""
        assignment = node_v1_pb2.PodAssignment.FromString(file.read_bytes())
        secrets = self._secrets / file.name
        if secrets.exists():
            assignment.MergeFromString(secrets.read_bytes())
        uid = codec.decode(assignment.pod, Pod).metadata.uid
        if uid != file.name:
            raise ValueError(f"holds the pod {uid!r}")
        return assignment
