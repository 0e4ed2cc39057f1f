"""Whose data is in this etcd? A key in it and a file next to it must name the same cluster."""

from enum import Enum
from pathlib import Path

from common.etcd.client import EtcdClient, prefix_end
from common.etcd.errors import EtcdError
from common.etcd.types import Compare, Put
from common.runtime.rng import Rng
from common.security.files import write_private
from master.storage.keys import ROOT

MARKER = "cluster-uid"
"""The key's last step, and the file's name."""
_UNFINISHED = " new"
"""Ends the file's text until the key is written: a first start may be cut off anywhere."""


class ForeignData(Exception):
    """etcd holds the data of another cluster, or lost ours; the message says which."""


class Verdict(Enum):
    """What a start does about the marker."""

    OURS = "the key and the file agree"
    BEGIN = "nothing is there: the first start"
    WRITE_KEY = "the first start was cut off before the key"
    FINISH = "the first start was cut off after the key"


def judge(file_text: str | None, key_uid: str | None, *, empty: bool) -> Verdict:
    """Compare the file's text, the key's value, and whether there is no key at all.

    Raises ForeignData: to go on would mean to show an empty or a wrong cluster to nodes.
    """
    if file_text is None:
        if key_uid is None and empty:
            return Verdict.BEGIN
        owner = f"of cluster {key_uid}" if key_uid else "that this program did not write"
        raise ForeignData(f"etcd holds data {owner}, but no file next to it names this cluster")
    uid = file_text.removesuffix(_UNFINISHED)
    if key_uid == uid:
        return Verdict.OURS if file_text == uid else Verdict.FINISH
    if key_uid is None and empty and file_text != uid:
        return Verdict.WRITE_KEY
    marked = f"the data of cluster {key_uid}" if key_uid else "no cluster's data"
    raise ForeignData(f"etcd holds {marked}, but this master belongs to cluster {uid}")


async def check_marker(
    client: EtcdClient, file: Path, rng: Rng, *, prefix: str = ROOT, shared: bool = False
) -> str:
    """The cluster's uid, made at the first start. Raises ForeignData, EtcdError, OSError.

    Where etcd is shared, what lies outside of the prefix is nobody's concern.
    """
    text = _read(file)
    key, below = f"{prefix}/{MARKER}".encode(), f"{prefix}/".encode()
    answer = await client.range(key)
    start, end = (below, prefix_end(below)) if shared else (b"\0", b"\0")
    everything = await client.range(start, end, count_only=True)
    key_uid = answer.items[0].value.decode() if answer.items else None
    try:
        verdict = judge(text, key_uid, empty=everything.count == 0)
    except ForeignData as error:
        raise ForeignData(f"{error} (below {prefix}; file {file})") from error
    uid = (text or rng.uuid()).removesuffix(_UNFINISHED)
    if verdict is Verdict.BEGIN:
        write_private(file, f"{uid}{_UNFINISHED}\n".encode())
    if verdict in (Verdict.BEGIN, Verdict.WRITE_KEY):
        result = await client.txn([Compare(key, 0)], [Put(key, uid.encode())])
        if not result.succeeded:
            raise EtcdError("another master started on the same etcd at the same time")
    if verdict is not Verdict.OURS:
        write_private(file, f"{uid}\n".encode())
    return uid


def _read(file: Path) -> str | None:
    return file.read_text("ascii").strip("\n") if file.exists() else None
