"""What Kubernetes accepts as a name, a label, an annotation key; and generated names.

Source: k8s.io/apimachinery pkg/util/validation; the texts are Kubernetes' own.
"""

from __future__ import annotations

import re

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_CONFIG_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_ENV_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_RELAXED_ENV = re.compile(r"[ -<>-~]+")
_PORT_NAME = re.compile(r"[-a-z0-9]+")

DNS_LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and "
    "must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used "
    "for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
DNS_SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used "
    "for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_QUALIFIED_TEXT = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for "
    "validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_LABEL_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value', "
    " or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


SUBDOMAIN_MAX = 253


def _too_long(limit: int) -> str:
    return f"must be no more than {limit} characters"


def dns_label(text: str) -> list[str]:
    """What is wrong with `text` as an RFC 1123 label (namespaces, containers, volumes)."""
    problems = [_too_long(63)] if len(text) > 63 else []
    if _LABEL.fullmatch(text):
        return problems
    return [*problems, "must not contain dots" if _SUBDOMAIN.fullmatch(text) else DNS_LABEL]


def dns_subdomain(text: str) -> list[str]:
    """What is wrong with `text` as an RFC 1123 subdomain (most objects' names)."""
    problems = [_too_long(SUBDOMAIN_MAX)] if len(text) > SUBDOMAIN_MAX else []
    return problems if _SUBDOMAIN.fullmatch(text) else [*problems, DNS_SUBDOMAIN]


def path_segment(text: str) -> list[str]:
    """What is wrong with `text` as one part of a path: the names of kinds without other rules.

    Kubernetes bounds neither their length nor what cannot be printed; keys of the store do.
    """
    if text in (".", ".."):
        return [f"may not be '{text}'"]
    problems = [f"may not contain '{sign}'" for sign in ("/", "%") if sign in text]
    if len(text.encode(errors="replace")) > SUBDOMAIN_MAX:
        problems.append(_too_long(SUBDOMAIN_MAX))
    return problems if text.isprintable() else [*problems, "must be printable"]


def qualified_name(text: str) -> list[str]:
    """What is wrong with `text` as a label or annotation key: `[prefix/]name`."""
    problems: list[str] = []
    parts = text.split("/")
    if len(parts) > 2:
        return [
            f"a qualified name {_QUALIFIED_TEXT} with an optional DNS subdomain prefix and '/' "
            "(e.g. 'example.com/MyName')"
        ]
    if len(parts) == 2:
        if not parts[0]:
            problems.append("prefix part must be non-empty")
        else:
            problems += [f"prefix part {text}" for text in dns_subdomain(parts[0])]
    name = parts[-1]
    if not name:
        problems.append("name part must be non-empty")
    elif len(name) > 63:
        problems.append(f"name part {_too_long(63)}")
    if not _QUALIFIED.fullmatch(name):
        problems.append(f"name part {_QUALIFIED_TEXT}")
    return problems


def label_value(text: str) -> list[str]:
    """What is wrong with `text` as the value of a label."""
    problems = [_too_long(63)] if len(text) > 63 else []
    if text and not _QUALIFIED.fullmatch(text):
        problems.append(_LABEL_VALUE_TEXT)
    return problems


def config_map_key(text: str) -> list[str]:
    """What is wrong with `text` as a key of a ConfigMap or Secret."""
    problems = [_too_long(253)] if len(text) > 253 else []
    if not _CONFIG_KEY.fullmatch(text):
        problems.append(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. "
            "'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is "
            "'[-._a-zA-Z0-9]+')"
        )
    if text in (".", ".."):
        problems.append(f"must not be '{text}'")
    elif text.startswith(".."):
        problems.append("must not start with '..'")
    return problems


def env_var_name(text: str) -> list[str]:
    """What is wrong with `text` as the name of an environment variable (relaxed since 1.34)."""
    if not text:
        return ["environment variable name must be non-empty"]
    if not _RELAXED_ENV.fullmatch(text):
        return [
            "a valid environment variable name must consist only of printable ASCII characters "
            "other than '='"
        ]
    return []


def port_name(text: str) -> list[str]:
    """What is wrong with `text` as the name of a port (RFC 6335)."""
    problems: list[str] = []
    if len(text) > 15:
        problems.append("must be no more than 15 characters")
    if not _PORT_NAME.fullmatch(text):
        problems.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", text):
        problems.append("must contain at least one letter (a-z)")
    if "--" in text:
        problems.append("must not contain consecutive hyphens")
    if text[:1] == "-" or text[-1:] == "-":
        problems.append("must not begin or end with a hyphen")
    return problems


def generated(base: str, suffix: str) -> str:
    """A name made of `metadata.generateName` and five random characters, 63 at most."""
    return base[: 63 - len(suffix)] + suffix


def prefix_as_name(prefix: str) -> str:
    """A name that is good when `prefix`, a `metadata.generateName`, is; it may end with a dash."""
    return prefix[:-2] + "a" if len(prefix) > 1 and prefix.endswith("-") else prefix
