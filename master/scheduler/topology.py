"""Domains: the nodes that have the same value of a label, such as a zone. Pure."""

from __future__ import annotations

import numpy as np

from master.scheduler.columns import Bools, Columns, Floats


def domains(topology_key: str, columns: Columns, weights: Floats | Bools) -> Floats:
    """The sum of `weights` over the nodes of each domain; 0 at 0, for nodes without the label."""
    size = len(columns.label_values(topology_key)) + 1
    sums = np.bincount(columns.label(topology_key), weights=weights, minlength=size)
    sums[0] = 0.0
    return sums.astype(np.float64, copy=False)


def of_domain(topology_key: str, columns: Columns, weights: Floats | Bools) -> Floats:
    """The same for each node: the sum over its domain."""
    sums: Floats = domains(topology_key, columns, weights)[columns.label(topology_key)]
    return sums
