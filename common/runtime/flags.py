"""Flags over configuration files: each field of a configuration is both, under the same name."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, get_origin

import msgspec

from common.runtime import values
from common.runtime.config import ConfigError, ConfigT, load


def parse(
    cls: type[ConfigT], arguments: list[str], *, program: str, description: str, file: str
) -> ConfigT:
    """Flags over files over defaults. `file` is read when no flag --config names another.

    Raises ConfigError that names the flag, or file, line and key.
    """
    parser = argparse.ArgumentParser(prog=program, description=description, allow_abbrev=False)
    parser.add_argument("--config", help=f"the configuration file; default: {file}")
    fields = msgspec.structs.fields(cls)
    for field in fields:
        _add_flag(parser, field)
    given = vars(parser.parse_args(arguments))
    named = given.pop("config")
    if named is not None and not Path(named).exists():
        raise ConfigError(f"{named}: there is no such file")
    made = load(Path(named or file), cls)
    chosen = {f.name: _value(f, given[f.name]) for f in fields if given[f.name] is not None}
    return msgspec.structs.replace(made, **chosen)


def _add_flag(parser: argparse.ArgumentParser, field: msgspec.structs.FieldInfo) -> None:
    flag, kind = f"--{field.encode_name}", values.plain(field.type)
    text = _description(field.type).replace("%", "%%")
    if kind is bool:
        parser.add_argument(flag, action="store_const", const=True, help=text)
        return
    if field.default not in ("", (), 0):
        text = f"{text}; default: {field.default}".removeprefix("; ")
    metavar = "A,B" if get_origin(kind) is tuple else None
    parser.add_argument(flag, help=text, metavar=metavar)


def _value(field: msgspec.structs.FieldInfo, given: str | bool) -> Any:
    """What a flag says, as the field's type; a tuple's members are separated by commas."""
    value: Any = given
    if isinstance(given, str) and get_origin(values.plain(field.type)) is tuple:
        value = [word for word in given.split(",") if word]
    try:
        made = msgspec.convert(value, field.type, strict=False)
    except msgspec.ValidationError as error:
        said = str(error).partition(" - at `")[0]
        raise ConfigError(f"--{field.encode_name} {given}: {said}") from error
    for _, said in values.problems(field.type, made):
        raise ConfigError(f"--{field.encode_name} {given}: {said}")
    return made


def _description(kind: Any) -> str:
    """What is annotated to a type for people."""
    metas = [m for m in getattr(kind, "__metadata__", ()) if isinstance(m, msgspec.Meta)]
    return next((meta.description for meta in metas if meta.description), "")
