"""What a graph claims about data: nodes without an edge are independent given something."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

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


def implied_independences(graph: Graph) -> Iterator[Independence]:
    """Yield, for every two measured nodes, each minimal set that makes them independent; take as many as you like.

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
        asked = Question(graph=graph, x=x, y=y, allowed=graph.measurable - {x, y}, include=held)
        for given in asked.all_minimal():
            yield Independence(x=graph.nodes[x], y=graph.nodes[y], given=graph.names(given))
