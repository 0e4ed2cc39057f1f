"""Configuration files: one YAML file and its drop-ins, checked before anything starts."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import msgspec
import yaml
from yaml.constructor import SafeConstructor

from common.runtime.reasons import reason
from common.runtime.values import problems

_DROP_IN_SUFFIX = ".d"
_ERROR_PATH = re.compile(r" - at `\$?(?P<path>[^`]*)`$")
_UNKNOWN_FIELD = re.compile(r"unknown field `(?P<key>[^`]*)`")

Path_ = tuple[str | int, ...]


class ConfigError(Exception):
    """A file cannot be used; the message names file, line and key."""


class Config(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Base of every configuration Struct: unknown keys are errors, at every depth."""


ConfigT = TypeVar("ConfigT", bound=Config)


def load(path: Path, config_type: type[ConfigT]) -> ConfigT:
    """Read `path` and then `path`.d/*.yaml in the order of their names.

    Mappings are merged key by key, and anything else replaces what an earlier file said. A
    missing file is an empty one, so that defaults alone are a configuration. Raises ConfigError.
    """
    values: dict[str, Any] = {}
    origins: dict[Path_, str] = {(): str(path)}
    for file in _files(path):
        node = _compose(file)
        if node is not None:
            values = _merge(values, _Reader(file, origins).mapping(node))
    try:
        made = msgspec.convert(values, config_type)
    except msgspec.ValidationError as error:
        _explain(error, origins)
    for field in msgspec.structs.fields(config_type):
        for index, said in problems(field.type, getattr(made, field.name)):
            _refuse((field.encode_name, *index), said, origins)
    return made


def refuse_to_forget(former: Path, data_dir: str, file: str) -> None:
    """Raise ConfigError where `former`, an earlier version's, is beside a `data_dir` without it."""
    place = Path(data_dir)
    beside = former.parent == place.parent
    if beside and former.exists() and not (place / former.name).exists():
        raise ConfigError(
            f"{former} is of an earlier version, which kept its data in {former.parent}: to go on "
            f"with it, say `data-dir: {former.parent}` in {file}"
        )


def _files(path: Path) -> Iterator[Path]:
    if path.exists():
        yield path
    yield from sorted(path.with_name(path.name + _DROP_IN_SUFFIX).glob("*.yaml"))


def _compose(file: Path) -> yaml.Node | None:
    try:
        # The safe loader's composer builds plain nodes only, never Python objects.
        node: yaml.Node | None = yaml.compose(file.read_text("utf-8"), Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{file}:{line}: {error.problem}") from error
    except yaml.reader.ReaderError as error:
        raise ConfigError(f"{file}: {error.reason}") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{file}: {reason(error)}") from error
    return node


class _Reader:
    """Turns the nodes of one file into plain values and notes where each of them stands."""

    def __init__(self, file: Path, origins: dict[Path_, str]) -> None:
        self._file = file
        self._origins = origins
        self._seen: set[int] = set()
        self._scalars = SafeConstructor()

    def mapping(self, node: yaml.Node) -> dict[str, Any]:
        """The whole file, which must be a mapping."""
        value = self._value(node, ())
        if not isinstance(value, dict):
            self._fail(node, "expected a mapping of settings")
        return value

    def _value(self, node: yaml.Node, path: Path_) -> Any:
        if id(node) in self._seen:
            self._fail(node, "aliases are not supported")
        self._seen.add(id(node))
        self._origins[path] = f"{self._file}:{node.start_mark.line + 1}"
        if isinstance(node, yaml.MappingNode):
            return self._entries(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*path, i)) for i, item in enumerate(node.value)]
        try:
            return self._scalars.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            raise ConfigError(f"{self._origins[path]}: {error}") from error

    def _entries(self, node: yaml.MappingNode, path: Path_) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            if key in entries:
                self._fail(key_node, f"key {_dotted((*path, key))!r} is given twice")
            entries[key] = self._value(value_node, (*path, key))
            self._origins[(*path, key)] = f"{self._file}:{key_node.start_mark.line + 1}"
        return entries

    def _fail(self, node: yaml.Node, problem: str) -> NoReturn:
        raise ConfigError(f"{self._file}:{node.start_mark.line + 1}: {problem}")


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = _merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def _explain(error: msgspec.ValidationError, origins: dict[Path_, str]) -> NoReturn:
    """Raise what msgspec found in the words of who wrote the file."""
    message = str(error)
    path: Path_ = ()
    if at := _ERROR_PATH.search(message):
        message = message[: at.start()]
        path = _parse(at["path"])
    if unknown := _UNKNOWN_FIELD.search(message):
        path = (*path, unknown["key"])
        message = "unknown key"
    _refuse(path, message, origins)


def _refuse(path: Path_, message: str, origins: dict[Path_, str]) -> NoReturn:
    """Raise what is wrong, with the nearest place that is known."""
    known = path
    while known not in origins:
        known = known[:-1]
    raise ConfigError(f"{origins[known]}: {_dotted(path) or 'file'}: {message}")


def _parse(path: str) -> Path_:
    parts = re.findall(r"\.([^.\[\]]+)|\[(\d+)\]", path)
    return tuple(name or int(index) for name, index in parts)


def _dotted(path: Path_) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")
