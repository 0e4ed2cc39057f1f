"""Generates the Python of the API from protos/*.proto; called by setup.py and `make protos`.

Three outputs, none of them committed: protobuf modules with typed stubs (beside the .proto files),
msgspec Structs (common/api/types/<group>_<version>.py) and the static index of kinds
(common/api/index.py). Run from the root of the source tree.
"""

from __future__ import annotations

import importlib
import json
import keyword
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

HEADER = '"""Generated from protos/{source} by protos.codegen. Do not edit."""\n'
SCALARS = {
    "TYPE_STRING": "str",
    "TYPE_BOOL": "bool",
    "TYPE_INT32": "Int32",
    "TYPE_INT64": "Int64",
    "TYPE_DOUBLE": "float",
    "TYPE_BYTES": "bytes",
}
# Places in a file descriptor: messages, and the fields of a message.
MESSAGES, FIELDS = 4, 2
# JSON forms that differ from the message: name of the message in meta/v1 -> Python type.
SPECIAL = {
    "Time": "Time",
    "MicroTime": "MicroTime",
    "Duration": "str",
    "Quantity": "Quantity",
    "IntOrString": "Int32 | str",
    "RawExtension": "Any",
    "FieldsV1": "Any",
}
DESCRIPTIONS = Path("common/api/descriptions.json")
VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


def main(root: Path) -> None:
    """Regenerate everything below `root`, the directory that holds protos/ and common/."""
    clean(root)
    sources = sorted(path.name for path in (root / "protos").glob("*.proto"))
    compile_protos(root, sources)
    sys.path.insert(0, str(root))
    try:
        files = [load(name) for name in sources]
    finally:
        sys.path.pop(0)
    kinds = [file for file in files if file.GetOptions().HasExtension(options().api)]
    for file in kinds:
        target = root / "common/api/types" / f"{module_name(file)}.py"
        target.write_text(StructModule(file).render())
    (root / "common/api/index.py").write_text(render_index(kinds))
    (root / DESCRIPTIONS).write_text(render_descriptions(root, sources))


def clean(root: Path) -> None:
    """Remove every generated file, so that none outlives its source."""
    for pattern in ("protos/*_pb2*.py", "protos/*_pb2*.pyi", "common/api/types/*_*.py"):
        for path in root.glob(pattern):
            if path.name != "__init__.py":
                path.unlink()
    (root / "common/api/index.py").unlink(missing_ok=True)
    (root / DESCRIPTIONS).unlink(missing_ok=True)


def compile_protos(root: Path, sources: list[str]) -> None:
    """Run protoc for messages and, where a file declares services, for gRPC stubs.

    Raises RuntimeError when protoc refuses a file; protoc has then printed why.
    """
    from grpc_tools import protoc

    include = Path(importlib.import_module("grpc_tools").__file__ or "").parent / "_proto"
    scripts = Path(sysconfig.get_path("scripts"))
    plugins = []
    for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc"):
        found = shutil.which(name) or shutil.which(name, path=str(scripts))
        if found is None:
            raise RuntimeError(f"{name} is missing: install mypy-protobuf")
        plugins.append(f"--plugin={name}={found}")
    common = ["protoc", f"-I{root}", f"-I{include}", *plugins]
    services = [name for name in sources if "\nservice " in (root / "protos" / name).read_text()]
    runs = [
        [*common, f"--python_out={root}", f"--mypy_out=quiet:{root}"]
        + [f"protos/{name}" for name in sources],
        [*common, f"--grpc_python_out={root}", f"--mypy_grpc_out=quiet:{root}"]
        + [f"protos/{name}" for name in services],
    ]
    for run in runs:
        if run[-1].endswith(".proto") and protoc.main(run) != 0:
            raise RuntimeError(f"protoc failed: {' '.join(run)}")


def described(root: Path, sources: list[str]) -> Any:
    """The file descriptors of protos/`sources` with their comments, those of imports left out."""
    from google.protobuf.descriptor_pb2 import FileDescriptorSet
    from grpc_tools import protoc

    include = Path(importlib.import_module("grpc_tools").__file__ or "").parent / "_proto"
    with TemporaryDirectory() as directory:
        target = Path(directory) / "set"
        arguments = [f"-I{root}", f"-I{include}", f"--descriptor_set_out={target}"]
        paths = [f"protos/{name}" for name in sources]
        if protoc.main(["protoc", "--include_source_info", *arguments, *paths]) != 0:
            raise RuntimeError("protoc failed on comments")
        return FileDescriptorSet.FromString(target.read_bytes()).file


def render_descriptions(root: Path, sources: list[str]) -> str:
    """The comments of messages and fields as JSON: what `kubectl explain` says of them.

    Keys are `core_v1.Pod` and `core_v1.Pod.spec`; line breaks of the comments are spaces.
    """
    files = described(root, sources)
    found = {}
    for file in files:
        for location in file.source_code_info.location:
            path, text = location.path, " ".join(location.leading_comments.split())
            if not text or path[0] != MESSAGES or len(path) not in (2, 4):
                continue
            message = file.message_type[path[1]]
            name = f"{Path(file.name).stem}.{message.name}"
            if len(path) == 4 and path[2] == FIELDS:
                name += f".{message.field[path[3]].name}"
            found[name] = text
    return json.dumps(found, indent=0, sort_keys=True)


def options() -> Any:
    """The generated module of options.proto, which holds the extensions."""
    return importlib.import_module("protos.options_pb2")


def load(name: str) -> Any:
    """The FileDescriptor of protos/`name`, with our options readable."""
    options()
    return importlib.import_module(f"protos.{Path(name).stem}_pb2").DESCRIPTOR


def module_name(file: Any) -> str:
    """core_v1 for protos/core_v1.proto."""
    return Path(file.name).stem


def ext(descriptor: Any, name: str) -> Any:
    """The value of one of our options on a message or field; its zero value when absent."""
    return descriptor.GetOptions().Extensions[getattr(options(), name)]


def api_version(file: Any) -> str:
    """`v1`, `apps/v1`; meta/v1's own objects (Status, DeleteOptions) say `v1`."""
    api = ext(file, "api")
    return str(api.version if api.group in ("", "meta.k8s.io") else f"{api.group}/{api.version}")


def is_kind(message: Any) -> bool:
    """Whether objects of this message carry apiVersion and kind."""
    return bool(ext(message, "kind")) or message.GetOptions().HasExtension(options().resource)


def skipped(message: Any) -> bool:
    """Whether the message has no Struct because its JSON form is a plain value."""
    return bool(ext(message, "wrapper")) or (
        module_name(message.file) == "meta_v1" and message.name in SPECIAL
    )


class StructModule:
    """Renders one module of Structs; a message becomes a class, in dependency order of bases."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.name = module_name(file)
        self.imports: set[str] = set()

    def render(self) -> str:
        """The module's text."""
        classes: list[str] = []
        for message in self.ordered():
            classes += ["", "", *self.render_class(message)]
        head = [
            HEADER.format(source=Path(self.file.name).name),
            "from __future__ import annotations",
            "",
            "from typing import Any  # noqa: F401",
            "",
            "import msgspec",
            "",
            "from common.api.types import always  # noqa: F401",
            "from common.api.types import Int32, Int64, MicroTime, Quantity, Time  # noqa: F401",
            *(f"from common.api.types import {name}" for name in sorted(self.imports)),
        ]
        return "\n".join(head + classes) + "\n"

    def ordered(self) -> list[Any]:
        """Messages with a Struct, each after the base that it inherits."""
        done: dict[str, Any] = {}

        def visit(message: Any) -> None:
            if message.name in done or skipped(message) or message.GetOptions().map_entry:
                return
            base = self.base(message)
            if base is not None and base.file.name == self.file.name:
                visit(base)
            done[message.name] = message

        for message in self.file.message_types_by_name.values():
            visit(message)
        return list(done.values())

    def base(self, message: Any) -> Any:
        """The message that `message` inlines, or None."""
        inlined = [field for field in message.fields if ext(field, "inline")]
        return inlined[0].message_type if inlined else None

    def render_class(self, message: Any) -> Iterator[str]:
        """The lines of one class."""
        base = self.base(message)
        parent = self.reference(base) if base is not None else "msgspec.Struct"
        yield f"class {message.name}({parent}, kw_only=True, omit_defaults=True, gc=False):"
        yield f'    """{message.name} of {api_version(self.file)}."""'
        yield ""
        if is_kind(message):
            version = api_version(self.file)
            yield (
                f'    apiVersion: str = msgspec.field(default_factory=always.constant("{version}"))'
            )
            yield (
                f'    kind: str = msgspec.field(default_factory=always.constant("{message.name}"))'
            )
        for field in message.fields:
            if not ext(field, "inline"):
                yield self.render_field(field)

    def render_field(self, field: Any) -> str:
        """One attribute with its type and default."""
        kind, default, factory = self.shape(field)
        name = field.name
        arguments = []
        if keyword.iskeyword(name):
            arguments.append(f'name="{name}"')
            name += "_"
        if factory:
            arguments.append(f"default_factory={factory}")
        elif arguments:
            arguments.append(f"default={default}")
        value = f"msgspec.field({', '.join(arguments)})" if arguments else default
        return f"    {name}: {kind} = {value}"

    def shape(self, field: Any) -> tuple[str, str, str]:
        """(type, default, default factory) of a field; the factory wins when not empty."""
        always = bool(ext(field, "always"))
        element = field.message_type
        if element is not None and element.GetOptions().map_entry:
            value = self.python_type(element.fields_by_name["value"])
            return f"dict[str, {value}]", "", "always.empty_map" if always else "dict"
        kind = self.python_type(field)
        if element is not None and ext(element, "wrapper"):
            return kind, "()", "always.empty_list" if always else ""
        if field.is_repeated:
            return f"tuple[{kind}, ...]", "()", "always.empty_list" if always else ""
        if ext(field, "null"):
            return f"{kind} | None", "", "always.null"
        if element is not None:
            return self.message_shape(kind, always=always)
        if field.has_presence:
            return f"{kind} | None", "None", ""
        zero = {"str": '""', "bool": "False", "float": "0.0", "bytes": 'b""'}.get(kind, "0")
        return kind, zero, f"always.zero_{kind.lower()}" if always else ""

    @staticmethod
    def message_shape(kind: str, *, always: bool) -> tuple[str, str, str]:
        """The shape of a field that holds a message."""
        if kind == "Any":
            return "Any", "None", ""
        if not always:
            return f"{kind} | None", "None", ""
        if kind == "Quantity":
            return kind, "", "always.zero_quantity"
        plain = {"Time", "MicroTime", "str", "Int32 | str"}
        return kind, "", "always.zero_str" if kind in plain else f"lambda: {kind}()"

    def python_type(self, field: Any) -> str:
        """The Python type of one element of a field."""
        message = field.message_type
        if message is None:
            names = field.DESCRIPTOR if hasattr(field, "DESCRIPTOR") else field
            return SCALARS[_type_name(names.type)]
        if ext(message, "wrapper"):
            return "tuple[str, ...]"
        return self.reference(message)

    def reference(self, message: Any) -> str:
        """How this module names a message's type."""
        module = module_name(message.file)
        if module == "meta_v1" and message.name in SPECIAL:
            return SPECIAL[message.name]
        if module == self.name:
            return str(message.name)
        self.imports.add(module)
        return f"{module}.{message.name}"


def _type_name(number: int) -> str:
    """TYPE_STRING for 9, and so on."""
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto

    return FieldDescriptorProto.Type.Name(number)  # type: ignore[arg-type]


def render_index(files: list[Any]) -> str:
    """The module that lists every kind and resource, so that nobody loads descriptors for it."""
    lines = [
        HEADER.format(source="*.proto"),
        "from common.api.resource import Column, Kind, Resource, Subresource",
        "",
        "KINDS = (",
    ]
    resources = []
    for file in files:
        api = ext(file, "api")
        for message in file.message_types_by_name.values():
            if is_kind(message):
                lines.append(
                    f'    Kind("{api_version(file)}", "{message.name}", "{module_name(file)}"),'
                )
            if message.GetOptions().HasExtension(options().resource):
                resources.append(render_resource(api, message))
    return "\n".join([*lines, ")", "", "RESOURCES = (", *resources, ")", ""])


def render_resource(api: Any, message: Any) -> str:
    """One Resource(...) literal of the index."""
    option = ext(message, "resource")
    subresources = "".join(f"Subresource({s.name!r}, {s.kind!r}), " for s in option.subresources)
    columns = "".join(
        f"\n            Column({c.name!r}, {c.type or 'string'!r}, {c.path!r}, {c.priority}),"
        for c in option.columns
    )
    return f"""    Resource(
        group={api.group!r},
        version={api.version!r},
        kind={message.name!r},
        plural={option.plural!r},
        singular={option.singular or message.name.lower()!r},
        namespaced={not option.cluster_scoped!r},
        short_names={tuple(option.short_names)!r},
        categories={tuple(option.categories)!r},
        verbs={tuple(option.verbs) or VERBS!r},
        subresources=({subresources}),
        columns=({columns}
        ),
        inert={option.inert!r},
        deprecated={option.deprecated!r},
        has_status={"status" in message.fields_by_name!r},
    ),"""


if __name__ == "__main__":
    main(Path(__file__).resolve().parent.parent)
