"""Adjustment sets: which covariates turn an association into an effect."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from causalbench.dag.budget import NEVER, Deadline
from causalbench.dag.cheapest import cheapest
from causalbench.dag.graph import Graph, Nodes
from causalbench.dag.separation import Question, reachable
from causalbench.errors import GraphError, require_one_of

Effect = Literal["total", "direct"]


def causal_nodes(graph: Graph, exposure: str, outcome: str) -> frozenset[int]:
    """Return the nodes on directed paths from exposure to outcome, without the exposure."""
    (x,), (y,) = graph.require((exposure,)), graph.require((outcome,))
    return frozenset(graph.descendants({x}) & graph.ancestors({y})) - {x}


def forbidden_nodes(graph: Graph, exposure: str, outcome: str, effect: Effect = "total") -> frozenset[str]:
    """Return the nodes that no adjustment set may hold.

    For the total effect the descendants of nodes on directed paths from exposure to outcome (Shpitser, VanderWeele, Robins
    2010); for the direct effect descendants of the outcome.
    """
    (y,) = graph.require((outcome,))
    start = frozenset({y}) if effect == "direct" else causal_nodes(graph, exposure, outcome)
    return graph.names(i for i in graph.descendants(start) if i < len(graph.nodes))


def question(
    graph: Graph,
    exposure: str,
    outcome: str,
    *,
    effect: Effect = "total",
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
) -> Question:
    """Write an adjustment problem as one of separation.

    A set is valid iff it holds no forbidden node and separates exposure and outcome in the graph without the first edges of
    directed paths between them (total), or without the edge between them (direct); van der Zander et al. 2019, theorem 4.6.

    Nodes that the sample was selected on are given. Where one of them is the exposure, the outcome or forbidden, the sample was
    chosen by the answer, and no set is valid (Bareinboim, Tian, Pearl 2014; Correa, Tian, Bareinboim 2018).

    Raises
    ------
    GraphError
        For unknown nodes, one node as both, or ``include`` that can't be adjusted for.
    """
    require_one_of("effect", effect, ("total", "direct"))
    (x,), (y,) = graph.require((exposure,), what="exposure"), graph.require((outcome,), what="outcome")
    if x == y:
        raise GraphError(f"{exposure!r} is exposure and outcome", remedy="name two nodes")
    path = causal_nodes(graph, exposure, outcome) if effect == "total" else frozenset()
    forbidden = graph.descendants(path if effect == "total" else {y})
    held = graph.require(include, what="include") | graph.require(graph.selected)
    barred = graph.require(exclude, what="exclude") | forbidden | {x, y}
    cut = {x: path & frozenset(graph.children[x]) if effect == "total" else frozenset({y})}
    chosen = graph.require(graph.selected)
    wrong = graph.require(include) & (barred | (held - graph.measurable))
    if wrong:
        raise GraphError(
            f"include holds nodes that can't be adjusted for: {', '.join(sorted(graph.names(wrong)))}",
            remedy="leave out latent nodes, exposure, outcome and what follows from them",
        )
    return Question(
        graph=graph,
        x=x,
        y=y,
        allowed=graph.measurable - frozenset(barred),
        include=held - frozenset({x, y}),
        cut=cut,
        lost=chosen & (forbidden | {x, y}),
    )


def _to_adjust(graph: Graph, found: Iterable[int], include: Iterable[str] = ()) -> frozenset[str]:
    """Return the names of a set: what the sample was selected on is given already, and is in it only where asked for."""
    return graph.names(found) - (graph.selected - frozenset(include))


def is_adjustment_set(graph: Graph, exposure: str, outcome: str, covariates: Nodes, effect: Effect = "total") -> bool:
    """Tell whether adjusting for these covariates identifies the effect, in linear time.

    Examples
    --------
    >>> graph = Graph.parse("z -> x ; z -> y ; x -> m -> y")
    >>> [is_adjustment_set(graph, "x", "y", c) for c in (["z"], [], ["z", "m"])]
    [True, False, False]
    """
    asked = question(graph, exposure, outcome, effect=effect)
    chosen = graph.group(covariates)
    if asked.lost or not chosen <= asked.allowed | asked.include:
        return False
    return asked.y not in reachable(graph, {asked.x}, chosen | asked.include, cut=asked.cut)


def minimal_adjustment_set(
    graph: Graph,
    exposure: str,
    outcome: str,
    effect: Effect = "total",
    *,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    costs: Mapping[str, float] | None = None,
    deadline: Deadline = NEVER,
) -> frozenset[str] | None:
    """Return an adjustment set that no part of is one; None where no set is (van der Zander et al. 2019, section 4.2).

    Parameters
    ----------
    graph, exposure, outcome, effect
        What is asked.
    include, exclude
        Nodes that the set must or may not hold.
    costs
        What measuring a node costs, 1 where it isn't said: a cheapest set is returned, by a minimum cut. Without it any minimal
        one is, in linear time.
    deadline
        After it the search for a cheapest set raises :class:`~causalbench.dag.budget.OutOfTimeError`.

    Examples
    --------
    >>> graph = Graph.parse("a -> x ; a -> b -> y ; x -> y")
    >>> sorted(minimal_adjustment_set(graph, "x", "y")), sorted(minimal_adjustment_set(graph, "x", "y", costs={"a": 9.0}))
    (['a'], ['b'])
    """
    include = tuple(include)
    asked = question(graph, exposure, outcome, effect=effect, include=include, exclude=exclude)
    found = asked.minimal() if costs is None else cheapest(asked, costs, deadline=deadline)
    return None if found is None else _to_adjust(graph, found, include)


def minimal_adjustment_sets(
    graph: Graph,
    exposure: str,
    outcome: str,
    effect: Effect = "total",
    *,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    deadline: Deadline = NEVER,
) -> Iterator[frozenset[str]]:
    """Yield every minimal adjustment set, with polynomial delay: take as many as you like.

    After the ``deadline`` it raises :class:`~causalbench.dag.budget.OutOfTimeError`, which :func:`~causalbench.dag.budget.take`
    turns into an incomplete answer.

    Examples
    --------
    >>> graph = Graph.parse("a -> x ; a -> b -> y ; x -> y")
    >>> sorted(map(sorted, minimal_adjustment_sets(graph, "x", "y")))
    [['a'], ['b']]
    """
    include = tuple(include)
    asked = question(graph, exposure, outcome, effect=effect, include=include, exclude=exclude)
    yield from (_to_adjust(graph, found, include) for found in asked.all_minimal(deadline=deadline))


def canonical_adjustment_set(graph: Graph, exposure: str, outcome: str) -> frozenset[str] | None:
    """Return the set of all measurable ancestors of exposure and outcome that aren't forbidden, None where no set is valid.

    It is valid whenever any set is (Perkovic et al. 2018, theorem 6).
    """
    asked = question(graph, exposure, outcome)
    found = _to_adjust(graph, asked.ancestral() & asked.allowed)
    return found if is_adjustment_set(graph, exposure, outcome, found) else None


def optimal_adjustment_set(graph: Graph, exposure: str, outcome: str) -> frozenset[str] | None:
    """Return the valid set with the smallest asymptotic variance: parents of causal nodes that aren't forbidden.

    Henckel, Perkovic, Maathuis 2022, theorem 3.13 (linear models); Rotnitzky, Smucler 2020 (non-parametric). None where the
    exposure has no effect to estimate, or the set isn't measured or not valid: with latent nodes no set need be optimal.

    Examples
    --------
    >>> sorted(optimal_adjustment_set(Graph.parse("z -> x -> y ; z -> w -> y ; p -> y"), "x", "y"))
    ['p', 'w']
    """
    (x,) = graph.require((exposure,))
    path = causal_nodes(graph, exposure, outcome)
    if not path:
        return None
    found = {parent for node in path for parent in graph.parents[node]} - graph.descendants(path) - {x}
    if not found <= graph.measurable:
        return None
    names = _to_adjust(graph, found)
    return names if is_adjustment_set(graph, exposure, outcome, names) else None
