"""What a graph claims about data: nodes without an edge are independent given something."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from causalbench.dag.budget import NEVER, Deadline
from causalbench.dag.graph import Graph
from causalbench.dag.separation import Question


@dataclass(frozen=True, slots=True, kw_only=True)
class Independence:
    """``x`` is independent of ``y`` given ``given``."""

    x: str
    y: str
    given: frozenset[str]

    def __str__(self) -> str:
        given = f" given {', '.join(sorted(self.given))}" if self.given else ""
        return f"{self.x} is independent of {self.y}{given}"


def implied_independences(graph: Graph, *, deadline: Deadline = NEVER) -> Iterator[Independence]:
    """Yield, for every two measured nodes, each minimal set that makes them independent; take as many as you like, until a
    deadline (:func:`~causalbench.dag.budget.take`).

    What the sample was selected on is given throughout, and not listed.

    Two nodes without an edge between them may have none, where a latent node connects them.

    Examples
    --------
    >>> [str(claim) for claim in implied_independences(Graph.parse("a -> b -> c"))]
    ['a is independent of c given b']
    """
    measured = sorted(graph.measurable - graph.require(graph.selected))
    held = graph.require(graph.selected)
    for x, y in combinations(measured, 2):
        if y in graph.children[x] or x in graph.children[y]:
            continue
        deadline.check()
        asked = Question(graph=graph, x=x, y=y, allowed=graph.measurable - {x, y}, include=held)
        for given in asked.all_minimal(deadline=deadline):
            yield Independence(x=graph.nodes[x], y=graph.nodes[y], given=graph.names(given - held))


def missing_edges(graph: Graph, *, deadline: Deadline = NEVER) -> Iterator[Independence]:
    """Yield one independence for every two measured nodes without an edge between them that some set separates.

    Together they are what the graph claims about pairs; each needs one test. Linear time per pair, until a deadline
    (:func:`~causalbench.dag.budget.take`).

    Examples
    --------
    >>> [str(claim) for claim in missing_edges(Graph.parse("a -> b ; a -> c ; b -> d ; c -> d"))]
    ['a is independent of d given b, c', 'b is independent of c given a']
    """
    held = graph.require(graph.selected)
    measured = sorted(graph.measurable - held)
    for x, y in combinations(measured, 2):
        if y in graph.children[x] or x in graph.children[y]:
            continue
        deadline.check()
        given = Question(graph=graph, x=x, y=y, allowed=graph.measurable - {x, y}, include=held).minimal()
        if given is not None:
            yield Independence(x=graph.nodes[x], y=graph.nodes[y], given=graph.names(given - held))


def local_independences(graph: Graph) -> Iterator[Independence]:
    """Yield the local Markov condition pair by pair: each node is independent of what it doesn't cause, given its causes.

    Nothing where a node is latent, an edge bidirected or the sample selected: there the condition doesn't hold.

    Examples
    --------
    >>> [str(claim) for claim in local_independences(Graph.parse("a -> b -> c"))]
    ['c is independent of a given b']
    """
    if graph.latents or graph.bidirected or graph.selected:
        return
    for node in range(len(graph.nodes)):
        causes = frozenset(graph.parents[node])
        given = graph.names(causes)
        for other in sorted(set(range(len(graph.nodes))) - graph.descendants({node}) - causes):
            yield Independence(x=graph.nodes[node], y=graph.nodes[other], given=given)
