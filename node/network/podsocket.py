"""Sockets in the networks of pods, without a program that would have to be started there.

A socket belongs to the network that its thread is in when it is made: a thread enters the pod's
for that moment. Python has setns from 3.12 on only.
"""

from __future__ import annotations

import ctypes
import os
import socket

from common.runtime.reasons import reason
from node.runtime.base import SandboxFailed

_CLONE_NEWNET = 0x40000000
_OWN_NETWORK = "/proc/thread-self/ns/net"
_libc = ctypes.CDLL(None, use_errno=True)


def tcp_socket(netns_path: str) -> socket.socket:
    """A TCP socket in the network at a path, in the thread's own without one; it does not block.

    Raises SandboxFailed.
    """
    if not netns_path:
        return _make()
    try:
        own = os.open(_OWN_NETWORK, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(netns_path)
            try:
                return _make()
            finally:
                _set_network(own)
        finally:
            os.close(own)
    except OSError as error:
        raise SandboxFailed(f"the network of the pod cannot be used: {reason(error)}") from error


def _enter(netns_path: str) -> None:
    descriptor = os.open(netns_path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _set_network(descriptor)
    finally:
        os.close(descriptor)


def _set_network(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _make() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setblocking(False)
    return made
