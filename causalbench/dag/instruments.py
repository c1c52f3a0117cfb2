"""Instruments: what moves the exposure and reaches the outcome through it alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from causalbench.dag.adjustment import causal_nodes
from causalbench.dag.budget import NEVER, Deadline
from causalbench.dag.graph import Graph
from causalbench.dag.separation import Question, reachable


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """A node, and what it has to be conditioned on to be an instrument."""

    node: str
    given: frozenset[str]


def instruments(graph: Graph, exposure: str, outcome: str) -> tuple[Instrument, ...]:
    """Return every (conditional) instrument with one conditioning set, in the order of the nodes.

    z is one given W iff W separates z from the outcome once the first edges of directed paths from exposure to outcome are gone,
    leaves z connected to the exposure, and holds nothing that follows from these paths. W is the separator nearest to the
    outcome, which decides it (van der Zander, Textor, Liskiewicz 2015, sections 3 and 4). Never a latent node, never a
    descendant of the exposure. None where the sample was selected on what the effect leads to; what else it was selected on is
    given, and not listed in W.

    Examples
    --------
    >>> instruments(Graph.parse("z -> x -> y ; u [latent] ; x <- u -> y"), "x", "y")[0].node
    'z'
    """
    return tuple(each_instrument(graph, exposure, outcome))


def each_instrument(graph: Graph, exposure: str, outcome: str, *, deadline: Deadline = NEVER) -> Iterator[Instrument]:
    """Yield what :func:`instruments` returns, in linear time a node, until a deadline (:func:`~causalbench.dag.budget.take`)."""
    (x,), (y,) = graph.require((exposure,)), graph.require((outcome,))
    path = causal_nodes(graph, exposure, outcome)
    cut = {x: path & frozenset(graph.children[x])}
    held = graph.require(graph.selected)
    after = graph.descendants(path | {y})
    if held & (after | {x}):
        return
    allowed = graph.measurable - {x, y} - after
    for z in sorted(graph.measurable - {x, y} - graph.descendants({x}) - held):
        deadline.check()
        asked = Question(graph=graph, x=y, y=z, allowed=allowed - {z}, include=held, cut=cut)
        given = asked.minimal()
        if given is not None and x in reachable(graph, {z}, given):
            yield Instrument(node=graph.nodes[z], given=graph.names(given - held))
