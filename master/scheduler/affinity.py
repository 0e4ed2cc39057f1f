"""Node selectors and node affinity on columns.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/ Pure.
"""

from __future__ import annotations

import numpy as np

from common.api import integers
from common.api.types.core_v1 import NodeSelectorRequirement, NodeSelectorTerm
from master.scheduler.columns import Bools, Columns
from master.scheduler.pod import PodClass


def required(pod: PodClass, columns: Columns) -> Bools:
    """The nodes that a pod's nodeSelector and required node affinity allow."""
    allowed = np.ones(columns.size, np.bool_)
    for key, value in pod.node_selector:
        allowed &= _in(columns, key, (value,))
    affinity = pod.affinity.nodeAffinity if pod.affinity is not None else None
    must = affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity else None
    if must is not None:
        some = np.zeros(columns.size, np.bool_)
        for term in must.nodeSelectorTerms:
            some |= matches(term, columns)
        allowed &= some
    return allowed


def matches(term: NodeSelectorTerm, columns: Columns) -> Bools:
    """The nodes that fulfil all of a term; an empty term matches none."""
    if not term.matchExpressions and not term.matchFields:
        return np.zeros(columns.size, np.bool_)
    matching = np.ones(columns.size, np.bool_)
    for requirement in term.matchExpressions:
        matching &= _requirement(requirement, columns)
    for requirement in term.matchFields:
        matching &= _field(requirement, columns)
    return matching


def _in(columns: Columns, key: str, values: tuple[str, ...]) -> Bools:
    known = columns.label_values(key)
    numbers = [known[value] for value in values if value in known]
    return np.isin(columns.label(key), numbers)


def _requirement(requirement: NodeSelectorRequirement, columns: Columns) -> Bools:
    column = columns.label(requirement.key)
    match requirement.operator:
        case "In":
            return _in(columns, requirement.key, requirement.values)
        case "NotIn":
            return ~_in(columns, requirement.key, requirement.values)
        case "Exists":
            return column.astype(np.bool_)
        case "DoesNotExist":
            return ~column.astype(np.bool_)
        case _:
            return _in(columns, requirement.key, _compared(requirement, columns))


def _compared(requirement: NodeSelectorRequirement, columns: Columns) -> tuple[str, ...]:
    """The known values that are greater or less than the bound; not numbers never are."""
    bound = integers.parse(requirement.values[0] if requirement.values else "")
    if bound is None:
        return ()
    sign = 1 if requirement.operator == "Gt" else -1
    numbers = ((text, integers.parse(text)) for text in columns.label_values(requirement.key))
    return tuple(text for text, n in numbers if n is not None and sign * n > sign * bound)


def _field(requirement: NodeSelectorRequirement, columns: Columns) -> Bools:
    """`metadata.name` is the one field there is."""
    matching = np.zeros(columns.size, np.bool_)
    for name in requirement.values:
        node = columns.nodes.get(name)
        if node is not None and requirement.key == "metadata.name":
            matching[node.row] = True
    return matching if requirement.operator == "In" else ~matching
