"""The child process that runs the user's own scheduler file, and what the file gets to see.

Run as a program: `child.py FILE SECONDS LOAD_SECONDS`. Reads questions and writes answers, each
a line of JSON (see exchange.py). Needs Python's library and NumPy, and nothing of the master.
The page of its users is docs/own-scheduler.md.
"""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, BinaryIO

import numpy as np

MEMORY_BYTES = 1 << 30
TEXT_MAX = 300
PLUGIN_FUNCTIONS = ("filter", "score", "filter_columns", "score_columns")
NOTHING = "defines none of filter, score, filter_columns, score_columns and schedule"
BOTH = "defines schedule, which chooses the node, and scores, which nobody would ask for then"


class OwnError(Exception):
    """What is wrong with the user's file, in the words that the pod's condition shows."""


@dataclass(frozen=True, slots=True)
class Pod:
    """The pod to place."""

    namespace: str
    name: str
    uid: str
    labels: Mapping[str, str]
    priority: int
    owner: str
    """The uid of its controller, or ''."""
    node_selector: Mapping[str, str]
    requests: Mapping[str, int]
    """CPU in thousandths of a core; memory in bytes; anything else in units."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node that the built-in filters allow."""

    name: str
    labels: Mapping[str, str]
    taints: Sequence[Sequence[str]]
    """[key, value, effect] of each."""
    allocatable: Mapping[str, int]
    free: Mapping[str, int]
    """What is left to request, in the units of `Pod.requests`."""
    same: int
    """How many pods of the same controller, namespace and labels are on it."""


class Nodes(Sequence[Node]):
    """The nodes to choose from, one by one or as columns in the same order."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._nodes = list(nodes)

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes)

    def __getitem__(self, index: Any) -> Any:
        return self._nodes[index]

    @property
    def names(self) -> list[str]:
        """Their names."""
        return [node.name for node in self._nodes]

    @property
    def same(self) -> Any:
        """`Node.same` as an array of int64."""
        return np.array([node.same for node in self._nodes], np.int64)

    def free(self, resource_name: str) -> Any:
        """What is left of a resource, as an array of int64; 0 where there is none of it."""
        return np.array([node.free.get(resource_name, 0) for node in self._nodes], np.int64)

    def allocatable(self, resource_name: str) -> Any:
        """What a node has of a resource, as an array of int64."""
        return np.array([node.allocatable.get(resource_name, 0) for node in self._nodes], np.int64)

    def label(self, key: str) -> Any:
        """A label's values as an array of str, '' where it is not set."""
        return np.array([node.labels.get(key, "") for node in self._nodes], np.str_)


class World:
    """The nodes as the master has told them so far."""

    def __init__(self) -> None:
        self._nodes: dict[str, dict[str, Any]] = {}

    def read(self, question: Mapping[str, Any]) -> tuple[Pod, Nodes]:
        """Take in what is new; the pod and the nodes that this question is about."""
        for node in question["nodes"]:
            self._nodes[node["name"]] = node
        for name in question["gone"]:
            self._nodes.pop(name, None)
        asked = zip(question["feasible"], question["same"], strict=True)
        nodes = Nodes(Node(**self._nodes[name], same=same) for name, same in asked)
        return Pod(**question["pod"]), nodes


@dataclass(frozen=True, slots=True)
class _Plugin:
    """Where functions stand: the file itself or an object of one of its classes."""

    functions: Mapping[str, Callable[..., Any]]
    weight: float


class OwnFile:
    """A loaded file. Raises OwnError for whatever is wrong with it."""

    def __init__(self, path: str) -> None:
        self.path = path
        module = self._module()
        self._schedule = getattr(module, "schedule", None)
        self._plugins = [self._plugin(module)]
        for value in list(vars(module).values()):
            if isinstance(value, type) and value.__module__ == module.__name__:
                self._plugins.append(self._plugin(self.call(value)))
        kinds = {name for plugin in self._plugins for name in plugin.functions}
        if not kinds and self._schedule is None:
            raise OwnError(f"{path}: {NOTHING}")
        if self._schedule is not None and any(kind.startswith("score") for kind in kinds):
            raise OwnError(f"{path}: {BOTH}")

    def answer(self, pod: Pod, nodes: Nodes) -> dict[str, Any]:
        """The reason against each node or '', and the scores or the name of the chosen node."""
        reasons = [""] * len(nodes)
        for plugin in self._plugins:
            for row, reason in self._filtered(plugin, pod, nodes):
                reasons[row] = reasons[row] or reason
        rows = [row for row, reason in enumerate(reasons) if not reason]
        left = Nodes(nodes[row] for row in rows)
        if self._schedule is not None:
            name = self._chosen(self._schedule, pod, left) if rows else ""
            return {"reasons": reasons, "node": name}
        scores = [0.0] * len(nodes)
        for plugin in self._plugins if rows else ():
            for row, score in zip(rows, self._scored(plugin, pod, left), strict=False):
                scores[row] += score * plugin.weight
        return {"reasons": reasons, "scores": scores}

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call something of the user's; raises OwnError with the line of what went wrong."""
        try:
            return function(*args)
        except OwnError:
            raise
        except BaseException as error:  # SystemExit, too, is the user's mistake
            raise OwnError(self._words(error, function)) from error

    def _module(self) -> ModuleType:
        module = ModuleType("own_scheduler")
        module.__file__ = self.path
        sys.modules[module.__name__] = module
        try:
            code = compile(Path(self.path).read_bytes(), self.path, "exec")
        except SyntaxError as error:
            line = f", line {error.lineno}" if error.lineno else ""
            raise OwnError(f"{self.path}{line}: {type(error).__name__}: {error.msg}") from error
        except OSError as error:
            raise OwnError(f"cannot read {self.path}: {(error.strerror or '').lower()}") from error
        except ValueError as error:  # a null byte: a SyntaxError only since Python 3.11.4
            raise OwnError(f"{self.path}: SyntaxError: {_short(error)}") from error
        self.call(exec, code, module.__dict__)
        return module

    def _plugin(self, owner: Any) -> _Plugin:
        defined = {name: getattr(owner, name, None) for name in PLUGIN_FUNCTIONS}
        functions = {name: found_one for name, found_one in defined.items() if callable(found_one)}
        weight = getattr(owner, "weight", 1)
        if functions and (not _is_number(weight) or weight < 0):
            raise OwnError(f"{self.path}: weight is {_show(weight)}, not a number from 0")
        return _Plugin(functions, float(weight) if functions else 0.0)

    def _filtered(self, plugin: _Plugin, pod: Pod, nodes: Nodes) -> Iterator[tuple[int, str]]:
        one = plugin.functions.get("filter")
        for row, node in enumerate(nodes if one else ()):
            reason = self.call(one, pod, node)  # type: ignore[arg-type]
            if not isinstance(reason, str):
                text = f"for node {node.name}, not a reason or ''"
                raise self._wrong(one, f"returned {_show(reason)} {text}")
            yield row, reason[:TEXT_MAX]
        many = plugin.functions.get("filter_columns")
        if many:
            masks = self.call(many, pod, nodes)
            if not isinstance(masks, dict) or not all(isinstance(key, str) for key in masks):
                raise self._wrong(many, f"returned {_show(masks)}, not {{reason: array of bool}}")
            for reason, mask in masks.items():
                array = self._array(many, mask, len(nodes))
                if array.dtype != np.bool_:
                    raise self._wrong(many, f"returned an array of {array.dtype}, not of bool")
                yield from ((int(row), reason[:TEXT_MAX]) for row in np.flatnonzero(array))

    def _scored(self, plugin: _Plugin, pod: Pod, nodes: Nodes) -> list[float]:
        total = [0.0] * len(nodes)
        one, many = plugin.functions.get("score"), plugin.functions.get("score_columns")
        if one:
            raw = [self.call(one, pod, node) for node in nodes]
            total = self._checked(one, raw, nodes)
        if many:
            array = self._array(many, self.call(many, pod, nodes), len(nodes))
            more = self._checked(many, array.tolist(), nodes)
            total = [a + b for a, b in zip(total, more, strict=True)]
        return total

    def _checked(self, function: Any, values: list[Any], nodes: Nodes) -> list[float]:
        for value, node in zip(values, nodes, strict=True):
            if not _is_number(value) or not 0 <= value <= 100:
                text = f"for node {node.name}, not a number from 0 to 100"
                raise self._wrong(function, f"returned {_show(value)} {text}")
        return [float(value) for value in values]

    def _array(self, function: Any, value: Any, length: int) -> Any:
        array = self.call(np.asarray, value)
        if array.shape != (length,):
            got = f"{len(array)} values" if array.ndim == 1 else _show(value)
            raise self._wrong(function, f"returned {got} for {length} nodes")
        return array

    def _chosen(self, function: Any, pod: Pod, nodes: Nodes) -> str:
        name = self.call(function, pod, nodes)
        if name is None or (isinstance(name, str) and not name):
            return ""
        if not isinstance(name, str) or name not in nodes.names:
            text = "which is not the name of a node that it may choose"
            raise self._wrong(function, f"returned {_show(name)}, {text}")
        return str(name)

    def _wrong(self, function: Any, text: str) -> OwnError:
        """A wrong value, with the line where its function begins."""
        return OwnError(f"{self.path}{_place(function)}: {text}")

    def _words(self, error: BaseException, function: Any) -> str:
        """An exception, with the innermost line of the user's file."""
        place = _place(function)
        for frame in traceback.extract_tb(error.__traceback__):
            if frame.filename == self.path:
                inside = f", in {frame.name}" if frame.name != "<module>" else ""
                place = f", line {frame.lineno}{inside}"
        text = _short(error)
        return f"{self.path}{place}: {type(error).__name__}{': ' + text if text else ''}"


def _place(function: Any) -> str:
    """Where a function of the user's begins; of a class only its name; else nothing."""
    code = getattr(function, "__code__", None)
    if code is not None:
        return f", line {code.co_firstlineno}, in {function.__name__}"
    return f", in {function.__name__}" if isinstance(function, type) else ""


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float | np.integer | np.floating)
    return number and not isinstance(value, bool) and math.isfinite(value)


def _show(value: Any) -> str:
    """A value as the user would write it; its own repr may fail."""
    try:
        return repr(value)[:80]
    except Exception:  # noqa: BLE001 - the user's repr
        return f"a {type(value).__name__}"


def _short(error: BaseException) -> str:
    """The first line of an error's text; its own str may fail."""
    try:
        return str(error).partition("\n")[0][:TEXT_MAX]
    except Exception:  # noqa: BLE001 - the user's str
        return ""


def over_time(path: str, frame: FrameType | None, seconds: float) -> str:
    """The words for a file that took too long, with the line where it was."""
    while frame is not None and frame.f_code.co_filename != path:
        frame = frame.f_back
    place = ""
    if frame is not None:
        name = frame.f_code.co_name
        place = f", line {frame.f_lineno}" + (f", in {name}" if name != "<module>" else "")
    return f"{path}{place}: took longer than {seconds:g} s"


class _Server:
    """Reads questions from stdin and answers on what was stdout: print() goes to stderr."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._questions: BinaryIO = os.fdopen(os.dup(0), "rb")
        self._answers: BinaryIO = os.fdopen(os.dup(1), "wb")
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(2, 1)

    def run(self, seconds: float, load_seconds: float) -> None:
        """Load the file, then answer until the master closes the pipe."""
        try:
            self._limit(load_seconds)
            file = OwnFile(self._path)
            self._limit(0)
            self._say({})
        except OwnError as error:
            self._say({"error": str(error)})
            return
        world = World()
        for line in self._questions:
            pod, nodes = world.read(json.loads(line))
            try:
                self._limit(seconds)
                answer = file.answer(pod, nodes)
                self._limit(0)
            except OwnError as error:
                self._limit(0)
                answer = {"error": str(error)}
            self._say(answer)

    def _limit(self, seconds: float) -> None:
        """End this process after so many seconds, and say where it was; 0 for no limit."""

        def end(number: int, frame: FrameType | None) -> None:
            self._say({"error": over_time(self._path, frame, seconds), "last": True})
            os._exit(1)

        signal.signal(signal.SIGALRM, end)
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def _say(self, answer: Mapping[str, Any]) -> None:
        self._answers.write(json.dumps(answer).encode() + b"\n")
        self._answers.flush()


def main() -> None:
    """Serve one file."""
    path, seconds, load_seconds = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.path.insert(0, str(Path(path).parent))
    _Server(path).run(float(seconds), float(load_seconds))


if __name__ == "__main__":
    main()
