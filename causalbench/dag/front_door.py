"""Front-door sets: measured mediators that carry the whole effect, for graphs where confounding can't be measured."""

from __future__ import annotations

from collections.abc import Iterator

from causalbench.dag.budget import NEVER, Deadline
from causalbench.dag.graph import Graph
from causalbench.dag.separation import reachable
from causalbench.errors import GraphError


def front_door_sets(
    graph: Graph, exposure: str, outcome: str, *, deadline: Deadline = NEVER
) -> Iterator[frozenset[str]]:
    """Yield every set that satisfies the front-door criterion, with polynomial delay, until a deadline
    (:func:`~causalbench.dag.budget.take`).

    The set intercepts all directed paths from exposure to outcome; no back-door path from the exposure to it is open; every
    back-door path from it to the outcome is blocked by the exposure (Pearl 1995; search by Jeong, Tian, Bareinboim 2022).
    Nothing where the sample was selected: the criterion speaks of the whole population.

    Raises
    ------
    GraphError
        Where the exposure has no directed path to the outcome: there is nothing to carry.

    Examples
    --------
    >>> [sorted(found) for found in front_door_sets(Graph.parse("x -> m -> y ; x <-> y"), "x", "y")]
    [['m']]
    """
    (x,), (y,) = graph.require((exposure,)), graph.require((outcome,))
    if y not in graph.descendants({x}):
        raise GraphError(f"there is no directed path from {exposure!r} to {outcome!r}", remedy="check the edges")
    if graph.selected:
        return
    leaving = {x: frozenset(graph.children[x])}
    behind = reachable(graph, {x}, (), cut=leaving)
    free = graph.measurable - {x, y} - behind
    branches: list[tuple[frozenset[int], frozenset[int]]] = [(frozenset(), free)]
    while branches:
        include, allowed = branches.pop()
        largest = _largest(graph, x, y, allowed, deadline)
        if not include <= largest or not _intercepts(graph, x, y, largest):
            continue
        left = sorted(largest - include)
        if not left:
            yield graph.names(largest)
            continue
        branches.append((include | {left[0]}, largest))
        branches.append((include, largest - {left[0]}))


def _largest(graph: Graph, x: int, y: int, allowed: frozenset[int], deadline: Deadline) -> frozenset[int]:
    """Return the largest part of a set without an open back-door path to the outcome; every other valid part lies in it.

    A node with such a path while the edges out of all are cut keeps it when fewer are, so it goes.
    """
    while True:
        deadline.check()
        leaving = {node: frozenset(graph.children[node]) for node in allowed}
        touched = reachable(graph, {y}, {x}, cut=leaving)
        kept = frozenset(allowed - touched)
        if kept == allowed:
            return kept
        allowed = kept


def _intercepts(graph: Graph, x: int, y: int, nodes: frozenset[int]) -> bool:
    seen, waiting = {x}, [x]
    while waiting:
        for child in graph.children[waiting.pop()]:
            if child == y:
                return False
            if child not in seen and child not in nodes:
                seen.add(child)
                waiting.append(child)
    return True
