"""General identification: can the effect be written in what is measured, by adjustment or otherwise?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from causalbench.dag.budget import Deadline, OutOfTimeError
from causalbench.dag.graph import Graph, Nodes
from causalbench.dag.projection import Mixed, project
from causalbench.errors import GraphError, listing


@dataclass(frozen=True, slots=True, kw_only=True)
class Probability:
    """``P(of | given)`` of the measured data."""

    of: tuple[str, ...]
    given: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"P({', '.join(self.of)}{' | ' + ', '.join(self.given) if self.given else ''})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A product of terms."""

    factors: tuple[Probability | Product | Marginal | Ratio, ...]

    def __str__(self) -> str:
        return " ".join(f"[{factor}]" if isinstance(factor, Marginal) else str(factor) for factor in self.factors)


@dataclass(frozen=True, slots=True, kw_only=True)
class Marginal:
    """A term summed over the values of some nodes."""

    over: tuple[str, ...]
    body: Probability | Product | Marginal | Ratio

    def __str__(self) -> str:
        return f"sum over {', '.join(self.over)} of {self.body}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """One term over another."""

    above: Probability | Product | Marginal | Ratio
    below: Probability | Product | Marginal | Ratio

    def __str__(self) -> str:
        return f"({self.above}) / ({self.below})"


AnyTerm = Probability | Product | Marginal | Ratio


def free_names(term: AnyTerm) -> frozenset[str]:
    """Return the nodes whose values a term depends on: those that no sum runs over.

    Examples
    --------
    >>> sorted(free_names(Marginal(over=("z",), body=Probability(of=("y",), given=("x", "z")))))
    ['x', 'y']
    """
    if isinstance(term, Probability):
        return frozenset((*term.of, *term.given))
    if isinstance(term, Product):
        return frozenset[str]().union(*map(free_names, term.factors))
    if isinstance(term, Marginal):
        return free_names(term.body) - frozenset(term.over)
    return free_names(term.above) | free_names(term.below)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hedge:
    """Why an effect can't be identified: two nested groups, connected by unmeasured common causes, of which only the larger
    holds an exposure, and from which the outcome follows (Shpitser, Pearl 2006, definition 6).
    """

    larger: frozenset[str]
    smaller: frozenset[str]

    def __str__(self) -> str:
        return (
            f"unmeasured common causes connect {listing(sorted(self.larger), limit=20)}, "
            f"and {listing(sorted(self.smaller), limit=20)} among them even under the intervention"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Identification:
    """Either the functional that equals ``P(outcome | do(exposure))``, or the hedge that rules every functional out.

    Neither, and not ``complete``, where time ran out before the answer.
    """

    functional: AnyTerm | None
    hedge: Hedge | None
    complete: bool = True

    @property
    def identified(self) -> bool:
        """Whether the effect is a functional of measured data."""
        return self.functional is not None


def identify(graph: Graph, exposure: Nodes, outcome: Nodes, *, seconds: float | None = None) -> Identification:
    """Decide whether an interventional distribution is identified, and write it down (Shpitser, Pearl 2006, figure 3, ID).

    Complete: where it answers no, no method can do without a further assumption. Selection isn't taken into account. After some
    ``seconds`` it gives up, which the answer says.

    Raises
    ------
    GraphError
        For unknown or latent nodes, or nodes named as both.

    Examples
    --------
    >>> front = Graph.parse("x -> m -> y ; x <-> y")
    >>> str(identify(front, "x", "y").functional)
    'sum over m of P(m | x) [sum over x of P(x) P(y | x, m)]'
    >>> identify(Graph.parse("x -> y ; x <-> y"), "x", "y").identified
    False
    """
    x, y = graph.group(exposure), graph.group(outcome)
    if x & y or (x | y) - graph.measurable:
        wrong = graph.names((x & y) | ((x | y) - graph.measurable))
        raise GraphError(f"can't be asked about: {', '.join(sorted(wrong))}", remedy="name measured nodes, each once")
    mixed = project(graph)
    solver = _Solver(names=graph.nodes, order=mixed.order, deadline=Deadline.after(seconds))
    try:
        found = solver.solve(y, x, _Joint(), mixed)
    except (OutOfTimeError, RecursionError):
        return Identification(functional=None, hedge=None, complete=False)
    if isinstance(found, Hedge):
        return Identification(functional=None, hedge=found)
    return Identification(functional=found, hedge=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Joint:
    """The distribution in hand: of the measured data itself, or a term that took its place."""

    term: AnyTerm | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Solver:
    names: tuple[str, ...]
    order: tuple[int, ...]
    deadline: Deadline

    def solve(self, y: frozenset[int], x: frozenset[int], joint: _Joint, graph: Mixed) -> AnyTerm | Hedge:
        """Apply the first of ID's seven lines that fits."""
        nodes = graph.nodes
        if not x:
            return self._marginal(nodes - y, self._all(joint, graph))
        above = graph.ancestors(y)
        if nodes - above:
            smaller = graph.only(above)
            term = None if joint.term is None else self._marginal(nodes - above, joint.term)
            return self.solve(y, x & above, _Joint(term=term), smaller)
        idle = nodes - x - graph.cut_into(x).ancestors(y)
        if idle:
            return self.solve(y, x | idle, joint, graph)
        parts = graph.only(nodes - x).districts()
        if len(parts) > 1:
            return self._split(parts, y, x, joint, graph)
        (part,) = parts
        districts = graph.districts()
        if len(districts) == 1:
            return Hedge(larger=frozenset(self._names(nodes)), smaller=frozenset(self._names(part)))
        if part in districts:
            return self._marginal(part - y, self._chain(part, joint, graph))
        around = next(district for district in districts if part < district)
        term = self._chain(around, joint, graph)
        return self.solve(y, x & around, _Joint(term=term), graph.only(around))

    def _split(
        self, parts: tuple[frozenset[int], ...], y: frozenset[int], x: frozenset[int], joint: _Joint, graph: Mixed
    ) -> AnyTerm | Hedge:
        factors: list[AnyTerm] = []
        for part in parts:
            found = self.solve(part, graph.nodes - part, joint, graph)
            if isinstance(found, Hedge):
                return found
            factors.append(found)
        return self._marginal(graph.nodes - y - x, _product(factors))

    def _all(self, joint: _Joint, graph: Mixed) -> AnyTerm:
        return Probability(of=self._names(graph.nodes)) if joint.term is None else joint.term

    def _chain(self, group: frozenset[int], joint: _Joint, graph: Mixed) -> AnyTerm:
        """Return the product over a group of each node given all before it in order."""
        factors: list[AnyTerm] = []
        for i, node in enumerate(graph.order):
            if node not in group:
                continue
            before = frozenset(graph.order[:i])
            if joint.term is None:
                factors.append(Probability(of=(self.names[node],), given=self._names(before)))
                continue
            later = frozenset(graph.order[i + 1 :])
            above = self._marginal(later, joint.term)
            factors.append(Ratio(above=above, below=self._marginal(frozenset({node}), above)) if before else above)
        return _product(factors)

    def _marginal(self, over: Iterable[int], term: AnyTerm) -> AnyTerm:
        names = self._names(over)
        if not names:
            return term
        if isinstance(term, Probability) and set(names) < set(term.of):
            return Probability(of=tuple(name for name in term.of if name not in names), given=term.given)
        if isinstance(term, Marginal):
            return Marginal(over=(*term.over, *names), body=term.body)
        return Marginal(over=names, body=term)

    def _names(self, nodes: Iterable[int]) -> tuple[str, ...]:
        self.deadline.check()
        chosen = frozenset(nodes)
        return tuple(self.names[node] for node in self.order if node in chosen)


def _product(factors: list[AnyTerm]) -> AnyTerm:
    flat = [part for factor in factors for part in (factor.factors if isinstance(factor, Product) else (factor,))]
    return flat[0] if len(flat) == 1 else Product(factors=tuple(flat))
