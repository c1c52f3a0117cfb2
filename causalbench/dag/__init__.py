"""Causal graphs: which covariates to adjust for, which not, and why. No data, and nothing but the standard library."""

from causalbench.dag.adjustment import (
    canonical_adjustment_set,
    forbidden_nodes,
    is_adjustment_set,
    minimal_adjustment_set,
    minimal_adjustment_sets,
    optimal_adjustment_set,
)
from causalbench.dag.budget import Deadline, take
from causalbench.dag.front_door import front_door_sets
from causalbench.dag.graph import Graph
from causalbench.dag.identification import identify
from causalbench.dag.implications import implied_independences
from causalbench.dag.instruments import instruments
from causalbench.dag.separation import d_separated

__all__ = [
    "Deadline",
    "Graph",
    "canonical_adjustment_set",
    "d_separated",
    "forbidden_nodes",
    "front_door_sets",
    "identify",
    "implied_independences",
    "instruments",
    "is_adjustment_set",
    "minimal_adjustment_set",
    "minimal_adjustment_sets",
    "optimal_adjustment_set",
    "take",
]
