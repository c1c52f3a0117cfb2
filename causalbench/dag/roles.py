"""What part each node plays for an effect, and a path of the graph that shows it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from causalbench.dag.adjustment import (
    causal_nodes,
    is_adjustment_set,
    minimal_adjustment_set,
    optimal_adjustment_set,
    question,
)
from causalbench.dag.budget import Deadline, OutOfTimeError, take
from causalbench.dag.front_door import front_door_sets
from causalbench.dag.graph import Graph
from causalbench.dag.instruments import each_instrument
from causalbench.dag.separation import Question, open_path, reachable
from causalbench.errors import GraphError


class Advice(Enum):
    """Whether to adjust for a node."""

    MUST = "must"
    MAY = "may"
    MUST_NOT = "must not"


class Role(Enum):
    """What a node is for the effect in question."""

    CONFOUNDER = "confounder"
    MEDIATOR = "mediator"
    AFTER_MEDIATOR = "descendant of a mediator"
    AFTER_OUTCOME = "descendant of the outcome"
    COLLIDER = "collider"
    M_BIAS = "collider between two causes (M-bias)"
    AFTER_EXPOSURE = "descendant of the exposure off the causal paths"
    INSTRUMENT = "cause of the exposure alone"
    PRECISION = "cause of the outcome alone"
    SELECTED = "selected on"
    LATENT = "not measured"
    NEUTRAL = "no part in it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Advice on one node: ``path`` shows why, written with arrows."""

    node: str
    advice: Advice
    role: Role
    reason: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What would make an impossible adjustment possible.

    Attributes
    ----------
    measure, instruments, front_door
        The fewest unmeasured causes that would do, or else instruments, or one front door.
    sample
        Nodes that another sample mustn't be selected on.
    complete
        Whether all of it was looked for within the budget.
    """

    measure: tuple[str, ...]
    instruments: tuple[str, ...]
    front_door: tuple[str, ...] | None
    sample: tuple[str, ...] = ()
    complete: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The answer for one effect: ``nothing needed``, ``adjust`` or ``impossible``, and a verdict on every other node.

    Attributes
    ----------
    minimal, optimal
        One smallest choice, and the one with the smallest variance where it exists; None where adjustment is impossible.
    open_path
        Where adjustment is impossible, a path that is open with everything measured adjusted for that may be; or the one from
        the exposure to a node that the sample was selected on, where the effect leads there.
    repair
        What to do then.
    complete
        Whether every node was judged and every repair looked for within the budget.
    """

    exposure: str
    outcome: str
    answer: str
    minimal: frozenset[str] | None
    optimal: frozenset[str] | None
    verdicts: tuple[Verdict, ...]
    open_path: str | None
    repair: Repair | None
    complete: bool = True


def audit(graph: Graph, exposure: str, outcome: str, *, seconds: float | None = None) -> Audit:
    """Say of each node whether to adjust for it when the total effect is asked for, and why.

    Must: no valid set does without it. Must not: it biases the minimal set that is valid without it, or amplifies bias that
    nothing removes. May: the rest, with what it does to precision. Answer and sets take linear time; verdicts take that for
    each node, and after some ``seconds`` no further one begins: the answer then says that it isn't complete.

    Raises
    ------
    GraphError
        For unknown or latent exposure or outcome, an outcome that comes before the exposure, or no directed path between them.

    Examples
    --------
    >>> found = audit(Graph.parse("z -> x ; z -> y ; x -> m -> y"), "x", "y")
    >>> [(verdict.node, verdict.advice.value) for verdict in found.verdicts]
    [('z', 'must'), ('m', 'must not')]
    """
    require_effect(graph, exposure, outcome)
    asked = question(graph, exposure, outcome)
    minimal = minimal_adjustment_set(graph, exposure, outcome)
    others = [node for node in graph.nodes if node not in (exposure, outcome)]
    deadline = Deadline.after(seconds)
    repair = (
        None if minimal is not None else _repair(graph, asked, Deadline.after(None if seconds is None else seconds / 2))
    )
    judged = take(
        (_judge(graph, asked, exposure, outcome, node, minimal) for node in others),
        limit=len(others),
        deadline=deadline,
    )
    blocked = None if minimal is not None else _unblockable(graph, asked)
    return Audit(
        exposure=exposure,
        outcome=outcome,
        answer="impossible" if minimal is None else "adjust" if minimal else "nothing needed",
        minimal=minimal,
        optimal=optimal_adjustment_set(graph, exposure, outcome),
        verdicts=judged.items,
        open_path=blocked,
        repair=repair,
        complete=judged.complete and (repair is None or repair.complete),
    )


def require_effect(graph: Graph, exposure: str, outcome: str) -> None:
    """Refuse a question that the graph gives no sense: hidden ends, wrong order, no directed path."""
    (x,), (y,) = graph.require((exposure,), what="exposure"), graph.require((outcome,), what="outcome")
    for what, name in (("exposure", exposure), ("outcome", outcome)):
        if name in graph.latents:
            raise GraphError(f"the {what} {name!r} is latent", remedy="name a measured node")
    if x == y:
        raise GraphError(f"{exposure!r} is exposure and outcome", remedy="name two nodes")
    if x in graph.descendants({y}):
        raise GraphError(f"the outcome {outcome!r} comes before the exposure {exposure!r}", remedy="swap them")
    if y not in graph.descendants({x}):
        raise GraphError(
            f"there is no directed path from {exposure!r} to {outcome!r}: in this graph the effect is zero",
            remedy="add the missing edge, or ask about another outcome",
        )


def _judge(
    graph: Graph, asked: Question, exposure: str, outcome: str, node: str, minimal: frozenset[str] | None
) -> Verdict:
    (v,) = graph.require((node,))
    for role, reason, path in (
        _hidden(graph, node),
        _selected_after(graph, asked, v),
        _after_cause(graph, asked, v),
        _biasing(graph, asked, v, minimal),
    ):
        if role is not None:
            return Verdict(node=node, advice=Advice.MUST_NOT, role=role, reason=reason, path=path)
    held = asked.include
    before_x, near_x = v in graph.ancestors({asked.x}), v in reachable(graph, {asked.x}, held - {v}, cut=asked.cut)
    near_y = v in reachable(graph, {asked.y}, held - {v}, cut=asked.cut)
    before_y = v in graph.ancestors({asked.y})
    if node in graph.selected:
        return _verdict(node, Advice.MAY, Role.SELECTED, "the sample was selected on it: it is given already", "")
    needed = minimal is not None and node in minimal
    if needed and minimal_adjustment_set(graph, exposure, outcome, exclude=(node,)) is None:
        others = (graph.require(minimal or ()) | held) - {v}
        path = open_path(graph, asked.x, asked.y, others, cut=asked.cut) or ""
        return _verdict(node, Advice.MUST, Role.CONFOUNDER, "no valid set does without it", path)
    blocked = open_path(graph, asked.x, asked.y, held, cut=asked.cut, blocked_by=v) if near_x and near_y else None
    if blocked is not None and (before_x or before_y):
        return _verdict(node, Advice.MAY, Role.CONFOUNDER, "it blocks this path; another set may do so too", blocked)
    if before_x and not near_y:
        path = open_path(graph, v, asked.x, ()) or ""
        if minimal is None:
            why = "it moves the exposure alone: adjusting for it amplifies the bias that stays"
            return _verdict(node, Advice.MUST_NOT, Role.INSTRUMENT, why, path)
        return _verdict(node, Advice.MAY, Role.INSTRUMENT, "valid, but it costs precision: leave it out", path)
    if before_y and not near_x:
        path = open_path(graph, v, asked.y, (), cut=asked.cut) or ""
        return _verdict(node, Advice.MAY, Role.PRECISION, "not needed, but it makes the estimate more precise", path)
    if v in graph.descendants({asked.x}):
        path = open_path(graph, asked.x, v, ()) or ""
        return _verdict(
            node, Advice.MAY, Role.AFTER_EXPOSURE, "valid, but it follows from the exposure: leave it out", path
        )
    return _verdict(node, Advice.MAY, Role.NEUTRAL, "not needed: it blocks no open path", "")


def _verdict(node: str, advice: Advice, role: Role, reason: str, path: str) -> Verdict:
    return Verdict(node=node, advice=advice, role=role, reason=reason, path=path)


Finding = tuple[Role | None, str, str]
_NOTHING: Finding = (None, "", "")


def _hidden(graph: Graph, node: str) -> Finding:
    return (Role.LATENT, "nobody measured it", "") if node in graph.latents else _NOTHING


def _selected_after(graph: Graph, asked: Question, v: int) -> Finding:
    if v not in asked.lost:
        return _NOTHING
    return (
        Role.SELECTED,
        "the sample was selected on it, and the effect leads there: no adjustment undoes that",
        graph.directed_path(asked.x, v),
    )


def _after_cause(graph: Graph, asked: Question, v: int) -> Finding:
    """Find mediators and what follows from them or from the outcome."""
    x, y = asked.x, asked.y
    path = causal_nodes(graph, graph.nodes[x], graph.nodes[y])
    if v in path:
        shown = graph.directed_path(x, v) + graph.directed_path(v, y).removeprefix(graph.nodes[v])
        return Role.MEDIATOR, "it carries part of the effect, which adjusting would take away", shown
    if v in graph.descendants({y}):
        return (
            Role.AFTER_OUTCOME,
            "it follows from the outcome, so adjusting selects on the answer",
            graph.directed_path(y, v),
        )
    if v in graph.descendants(path):
        through = next(m for m in sorted(path) if v in graph.descendants({m}))
        shown = graph.directed_path(x, through) + graph.directed_path(through, v).removeprefix(graph.nodes[through])
        return Role.AFTER_MEDIATOR, "it follows from a node that carries the effect", shown
    return _NOTHING


def _biasing(graph: Graph, asked: Question, v: int, minimal: frozenset[str] | None) -> Finding:
    """Find nodes that open a path which is blocked without them."""
    base = graph.require(minimal or ()) | asked.include
    if v in base:
        return _NOTHING
    opened = open_path(graph, asked.x, asked.y, base | {v}, cut=asked.cut, opened_by=v)
    closed = asked.y not in reachable(graph, {asked.x}, base, cut=asked.cut)
    if opened is None or not (closed or minimal is None):
        return _NOTHING
    if minimal is not None and is_adjustment_set(
        graph, graph.nodes[asked.x], graph.nodes[asked.y], graph.names(base | {v})
    ):
        return _NOTHING
    if v in graph.descendants({asked.x}):
        return (
            Role.COLLIDER,
            "it follows from the exposure and from a cause of the outcome: adjusting joins them",
            opened,
        )
    return Role.M_BIAS, "adjusting for it opens this path, which is blocked without it", opened


def _unblockable(graph: Graph, asked: Question) -> str:
    """Return a path that stays open given every measured ancestor that may be adjusted for, or one to what was selected on."""
    if asked.lost:
        return graph.directed_path(asked.x, min(asked.lost))
    everything = (asked.ancestral() & asked.allowed) | asked.include
    return open_path(graph, asked.x, asked.y, everything, cut=asked.cut) or ""


def _repair(graph: Graph, asked: Question, deadline: Deadline) -> Repair:
    """Find the fewest unmeasured causes whose measurement makes adjustment possible, instruments, and a front door.

    Where time is over already, some such causes in place of the fewest, and no more.
    """
    if asked.lost:
        return Repair(measure=(), instruments=(), front_door=None, sample=tuple(sorted(graph.names(asked.lost))))
    exposure, outcome = graph.nodes[asked.x], graph.nodes[asked.y]
    hidden = {f"the common cause of {one} and {other}": (one, other) for one, other in graph.bidirected}
    measured = Graph(
        edges=(*graph.edges, *((name, end) for name, ends in hidden.items() for end in ends)),
        nodes=(*graph.nodes, *hidden),
        selected=graph.selected,
    )
    unmeasured = graph.latents | hidden.keys()
    costs = {name: 1.0 if name in unmeasured else 0.0 for name in measured.nodes}
    quick = False
    try:
        fewest = minimal_adjustment_set(measured, exposure, outcome, costs=costs, deadline=deadline)
    except OutOfTimeError:
        fewest, quick = minimal_adjustment_set(measured, exposure, outcome), True
    chosen = frozenset[str]() if fewest is None else fewest
    moving = take(
        each_instrument(graph, exposure, outcome, deadline=deadline), limit=len(graph.nodes), deadline=deadline
    )
    try:
        front, searched = next(front_door_sets(graph, exposure, outcome, deadline=deadline), None), True
    except OutOfTimeError:
        front, searched = None, False
    return Repair(
        measure=(*sorted(chosen & graph.latents), *sorted(chosen & hidden.keys())),
        instruments=tuple(found.node for found in moving.items),
        front_door=None if front is None else tuple(sorted(front)),
        complete=moving.complete and searched and not quick,
    )
