"""A graph held against data: the independences it implies, one by one and against relabelings of its nodes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats

from causalbench.artifacts import plain
from causalbench.dag import Graph
from causalbench.dag.budget import NEVER, Deadline, take
from causalbench.dag.implications import Independence, local_independences, missing_edges
from causalbench.data.sources import Source
from causalbench.numerics.independence import (
    Claims,
    fisher_z_threshold,
    linear_product_test,
    partial_correlations,
    residual_product_test,
)
from causalbench.values import BoolArray, FloatArray, IntArray, rejects
from causalbench.workflow.graph_data import NodeData, node_data

_CELLS_AT_ONCE = 4_000_000
_ENUMERATE = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class TestedClaim:
    """One independence and what the data say: ``adjusted`` is its p-value after Benjamini and Hochberg (1995)."""

    x: str
    y: str
    given: tuple[str, ...]
    test: Literal["partial-correlation", "residual-products"]
    partial: float | None
    p_value: float | None
    adjusted: float | None
    rejected: bool

    def __str__(self) -> str:
        given = f" given {', '.join(self.given)}" if self.given else ""
        return f"{self.x} is independent of {self.y}{given}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """An edge that the data speak about: ``missing`` where they want one, ``unsupported`` where they can do without it."""

    kind: Literal["missing", "unsupported"]
    ends: tuple[str, str]
    claim: TestedClaim

    def __str__(self) -> str:
        if self.kind == "missing":
            return f"{self.claim}, says the graph; the data say they aren't: an edge or a common cause is missing"
        return f"{self.ends[0]} -> {self.ends[1]}: the data can do without it ({self.claim}, as far as they show)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Falsification:
    r"""A graph beside the same graph with its nodes relabeled at random (Eulig, Mastakouri, Bloebaum, Hardt, Janzing 2023).

    Attributes
    ----------
    n_claims, n_violated
        Independences tested, one by one at size ``size``, and rejected.
    n_permutations
        Relabelings drawn, or all there are where ``exhaustive``.
    p_value
        Share of relabelings, the graph's own among them, that violate as few of their claims or fewer:

        .. math:: p = \frac{1 + \#\{\pi : V(\pi G) \le V(G)\}}{1 + m}

        Large: the graph fits no better than one drawn blindly.
    equivalent
        Share of relabelings that imply the very same independences; None with unmeasured causes, where it isn't computed.
        Large: data can't tell this graph from its relabelings at all.
    quantiles
        5%, 50% and 95% of the relabelings' numbers of violations.
    complete
        Whether as many relabelings were tried as were asked for.
    """

    n_claims: int
    n_violated: int
    size: float
    n_permutations: int
    exhaustive: bool
    p_value: float
    equivalent: float | None
    quantiles: tuple[float, float, float]
    complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphTest:
    """What the data say about a graph; ``verdict`` and ``sentence`` sum it up.

    Attributes
    ----------
    claims
        One independence for every two nodes without an edge that a measured set separates.
    suspects
        Edges that are missing or unsupported.
    falsification
        The comparison with relabelings; None where it can't be made, which ``notes`` say.
    absent
        Nodes without a usable column, taken as latent.
    notes
        What the reader must know.
    complete
        Whether every claim was tested.
    """

    verdict: Literal["pass", "review", "fail", "not_evaluable"]
    sentence: str
    claims: tuple[TestedClaim, ...]
    suspects: tuple[Suspect, ...]
    falsification: Falsification | None
    level: float
    n_rows: int
    absent: tuple[str, ...]
    notes: tuple[str, ...]
    complete: bool

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for evidence and command line."""
        result: dict[str, Any] = plain(self)
        for entry, claim in zip(result["claims"], self.claims, strict=True):
            entry["sentence"] = str(claim)
        for entry, suspect in zip(result["suspects"], self.suspects, strict=True):
            entry["sentence"] = str(suspect)
        return result


def hold_against(
    graph: Graph,
    source: Source,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    n_permutations: int = 1000,
    limit: int = 5000,
    most_tests: int = 20_000_000,
    seconds: float | None = None,
) -> GraphTest:
    """Test what a graph claims about a table.

    Every two nodes without an edge are tested for independence given one set that the graph says separates them: numbers by
    partial correlation with an error that holds for uneven variances, others by products of residuals of linear and logistic
    regressions (:mod:`causalbench.numerics.independence`); p-values are adjusted so that the share of false ones among the
    rejected is at most 1 - level. Then the graph is compared with its relabelings.

    A pass says that these data don't contradict the graph, not that it is right: graphs with the same independences pass alike,
    and both tests see only dependence between means, straight lines where columns are numbers.

    Parameters
    ----------
    graph, source
        The graph, and a table whose columns are named like its nodes.
    rng
        Draws the relabelings.
    level
        Confidence level.
    n_permutations
        Relabelings; 0: none.
    limit
        Most independences that are tested one by one.
    most_tests
        Most partial correlations over all relabelings: fewer relabelings are tried where this is less, which the result says.
    seconds
        Time after which no further independence is tested, nor relabeling tried; half of it is for either. The result then
        depends on the machine, so studies go by ``limit`` and ``most_tests`` alone.

    Raises
    ------
    DataError
        Where fewer than three nodes are columns, or few rows are left.

    Examples
    --------
    >>> import pandas as pd
    >>> from causalbench.data import sources
    >>> rng = np.random.default_rng(0)
    >>> a = rng.normal(size=500)
    >>> b = a + rng.normal(size=500)
    >>> table = pd.DataFrame({"a": a, "b": b, "c": b + rng.normal(size=500), "d": rng.normal(size=500)})
    >>> found = hold_against(Graph.parse("a -> c -> b ; d"), sources.from_object(table), rng=rng)
    >>> [str(claim) for claim in found.claims if claim.rejected]
    ['a is independent of b given c']
    """
    data = node_data(graph, source)
    half = None if seconds is None else seconds / 2
    deadline = Deadline.after(half)
    taken = take(missing_edges(data.graph, deadline=deadline), limit=limit, deadline=deadline)
    pairs = [claim for claim in taken.items if _covered(claim, data)]
    claims = _judged(data, pairs, level, deadline)
    all_tested = taken.complete and len(claims) == len(pairs)
    suspects = [Suspect(kind="missing", ends=(claim.x, claim.y), claim=claim) for claim in claims if claim.rejected]
    suspects += _unsupported(data, level)
    found, notes = None, _notes(data, all_tested=all_tested, tested=len(claims))
    if n_permutations and claims:
        if all(block.shape[1] == 1 for block in data.blocks.values()):
            options = {"n_permutations": n_permutations, "most_tests": most_tests}
            found = falsify(data, rng=rng, level=level, **options, deadline=Deadline.after(half))
        else:
            notes.append("text columns with three levels or more: no comparison with relabelings")
    verdict, sentence = _verdict(claims, found, level)
    return GraphTest(
        verdict=verdict,
        sentence=sentence,
        claims=claims,
        suspects=tuple(suspects),
        falsification=found,
        level=level,
        n_rows=data.n_rows,
        absent=data.absent,
        notes=tuple(notes),
        complete=all_tested and (found is None or found.complete),
    )


def falsify(
    data: NodeData,
    *,
    rng: np.random.Generator,
    level: float,
    n_permutations: int,
    most_tests: int = 20_000_000,
    deadline: Deadline = NEVER,
) -> Falsification | None:
    """Count how many claims a graph and its relabelings violate; None where it makes no claim.

    The claims are the local Markov condition pair by pair, or one separation per missing edge where causes are unmeasured. A
    relabeled graph makes the same claims about other columns, so all of them come from one correlation matrix.
    """
    pairs = list(local_independences(data.graph)) or list(missing_edges(data.graph))
    pairs = [claim for claim in pairs if _covered(claim, data)]
    if not pairs:
        return None
    groups = _grouped(pairs, data)
    affordable = max(most_tests // len(pairs), 1)
    d = len(data.blocks)
    exhaustive = d <= _ENUMERATE and math.factorial(d) - 1 <= n_permutations
    relabelings = _relabelings(d, min(n_permutations, affordable), exhaustive=exhaustive, rng=rng)
    size = 1 - level
    violated = _violations(data, groups, relabelings, size, NEVER if exhaustive else deadline)
    relabelings = relabelings[: len(violated)]
    own, others = int(violated[0]), violated[1:]
    low, middle, high = np.quantile(others, [0.05, 0.5, 0.95]).tolist()
    return Falsification(
        n_claims=len(pairs),
        n_violated=own,
        size=size,
        n_permutations=len(others),
        exhaustive=exhaustive,
        p_value=float((1 + (others <= own).sum()) / (1 + len(others))),
        equivalent=_equivalent_share(data.graph, relabelings[1:]),
        quantiles=(low, middle, high),
        complete=exhaustive or len(others) == n_permutations,
    )


def _relabelings(d: int, m: int, *, exhaustive: bool, rng: np.random.Generator) -> IntArray:
    """Return the identity and relabelings, all of them or drawn one by one; shape (1 + m, d)."""
    if exhaustive:
        return np.array(list(itertools.permutations(range(d))))
    drawn = rng.permuted(np.tile(np.arange(d), (m, 1)), axis=1)
    return np.vstack([np.arange(d), drawn])


def _violations(
    data: NodeData, groups: Sequence[Claims], relabelings: IntArray, size: float, deadline: Deadline
) -> IntArray:
    """Count rejected claims of every relabeling until a deadline, two at least; what can't be tested counts as not violated."""
    n_given = np.concatenate([np.full(len(group.x), len(group.given)) for group in groups])
    threshold = fisher_z_threshold(n_given, data.n_rows, size)
    widest = max(len(group.given) * (len(group.given) + 2 * len(group.x)) + len(n_given) for group in groups)
    step = max(_CELLS_AT_ONCE // widest, 1)
    counts = []
    for start in range(0, len(relabelings), step):
        if deadline.passed and start > 1:
            break
        partial = partial_correlations(data.correlation, groups, relabelings[start : start + step])
        counts.append((np.abs(partial) >= threshold).sum(axis=1))
    total: IntArray = np.concatenate(counts)
    return total


def _equivalent_share(graph: Graph, relabelings: IntArray) -> float | None:
    """Return the share of relabelings with the same edges and the same colliders of parents without one (Verma, Pearl 1990)."""
    if graph.latents or graph.bidirected or graph.selected:
        return None
    d = len(graph.nodes)
    points: BoolArray = np.zeros((d, d), dtype=bool)
    for cause, effect in graph.edges:
        points[graph.number[cause], graph.number[effect]] = True
    skeleton = points | points.T
    same = np.array([bool((skeleton[np.ix_(row, row)] == skeleton).all()) for row in relabelings])
    colliders = _colliders(points, skeleton)
    alike = sum(
        1
        for row in relabelings[same]
        if {(min(row[a], row[b]), row[c], max(row[a], row[b])) for a, c, b in colliders} == colliders
    )
    return alike / len(relabelings)


def _colliders(points: BoolArray, skeleton: BoolArray) -> set[tuple[int, int, int]]:
    found = set()
    for c in range(len(points)):
        causes = np.flatnonzero(points[:, c]).tolist()
        found |= {(a, c, b) for a, b in itertools.combinations(causes, 2) if not skeleton[a, b]}
    return found


def _covered(claim: Independence, data: NodeData) -> bool:
    return {claim.x, claim.y, *claim.given} <= data.blocks.keys()


def _grouped(pairs: Sequence[Independence], data: NodeData) -> list[Claims]:
    """Gather claims by their set, for blocks of one column each."""
    number = {name: int(columns[0]) for name, columns in data.columns.items()}
    by_set: dict[frozenset[str], list[Independence]] = {}
    for claim in pairs:
        by_set.setdefault(claim.given, []).append(claim)
    return [
        Claims(
            given=np.array(sorted(number[name] for name in given), dtype=int),
            x=np.array([number[claim.x] for claim in claims]),
            y=np.array([number[claim.y] for claim in claims]),
        )
        for given, claims in by_set.items()
    ]


def _judged(data: NodeData, pairs: Sequence[Independence], level: float, deadline: Deadline) -> tuple[TestedClaim, ...]:
    """Test claims one by one until a deadline and adjust their p-values for the number of them."""
    raw = take((_tested(data, claim) for claim in pairs), limit=len(pairs), deadline=deadline).items
    pairs = pairs[: len(raw)]
    known = [i for i, (_, _, p) in enumerate(raw) if not math.isnan(p)]
    adjusted = dict(zip(known, stats.false_discovery_control([raw[i][2] for i in known]), strict=True)) if known else {}
    return tuple(
        TestedClaim(
            x=claim.x,
            y=claim.y,
            given=tuple(sorted(claim.given)),
            test=test,
            partial=None if partial is None or math.isnan(partial) else partial,
            p_value=None if math.isnan(p) else p,
            adjusted=float(adjusted[i]) if i in adjusted else None,
            rejected=i in adjusted and rejects(float(adjusted[i]), level),
        )
        for i, (claim, (test, partial, p)) in enumerate(zip(pairs, raw, strict=True))
    )


_Raw = tuple[Literal["partial-correlation", "residual-products"], float | None, float]


def _tested(data: NodeData, claim: Independence) -> _Raw:
    names = sorted(claim.given)
    if data.numeric(claim.x) and data.numeric(claim.y):
        given = np.concatenate([np.empty(0, dtype=int), *(data.columns[name] for name in names)]).astype(int)
        group = Claims(given=given, x=data.columns[claim.x], y=data.columns[claim.y])
        itself = np.arange(len(data.correlation))[None, :]
        partial = partial_correlations(data.correlation, [group], itself)[0]
        p = linear_product_test(data.standard, data.correlation, group).p_value
        return "partial-correlation", float(partial[0]), p
    design: FloatArray = np.column_stack([np.empty((data.n_rows, 0)), *(data.blocks[name] for name in names)])
    found = residual_product_test(data.blocks[claim.x], data.blocks[claim.y], design)
    return "residual-products", None, found.p_value


def _unsupported(data: NodeData, level: float) -> list[Suspect]:
    """Find edges whose ends no test tells from independent, given the effect's other causes."""
    graph = data.graph
    if graph.latents or graph.bidirected or graph.selected:
        return []
    found = []
    for cause, effect in graph.edges:
        claim = Independence(x=cause, y=effect, given=graph.parents_of(effect) - {cause})
        test, partial, p = _tested(data, claim)
        if not math.isnan(p) and not rejects(p, level):
            tested = TestedClaim(
                x=cause,
                y=effect,
                given=tuple(sorted(claim.given)),
                test=test,
                partial=partial,
                p_value=p,
                adjusted=None,
                rejected=False,
            )
            found.append(Suspect(kind="unsupported", ends=(cause, effect), claim=tested))
    return found


def _notes(data: NodeData, *, all_tested: bool, tested: int) -> list[str]:
    notes = []
    if data.absent:
        notes.append(f"no usable column, taken as latent: {', '.join(data.absent)}")
    if data.n_dropped:
        notes.append(f"{data.n_dropped} rows with an empty cell were left out")
    if not all_tested:
        notes.append(f"only the first {tested} independences were tested")
    return notes


def _verdict(
    claims: Sequence[TestedClaim], found: Falsification | None, level: float
) -> tuple[Literal["pass", "review", "fail", "not_evaluable"], str]:
    """Sum up: fail where claims are rejected and relabelings do as well, review where either falls short."""
    tested = [claim for claim in claims if claim.p_value is not None]
    if not tested:
        return "not_evaluable", "The graph implies no independence that these data could contradict."
    rejected = sum(claim.rejected for claim in claims)
    count = f"{rejected} of {len(tested)} implied independences {'is' if rejected == 1 else 'are'} rejected"
    if found is None:
        return ("review" if rejected else "pass"), f"{count}."
    share = f"{found.p_value:.1%} of relabeled graphs violate as few of their claims"
    if found.equivalent is not None and not rejects(found.equivalent, level):
        same = f"{found.equivalent:.0%} of relabeled graphs imply the same"
        if rejected:
            return "review", f"{count}; relabelings can't say how bad that is, as {same}: look at the suspect edges."
        return "review", f"{count}, but {same}: data say little here."
    if rejected and not rejects(found.p_value, level):
        return "fail", f"{count}, and {share}: the graph fits no better than one drawn blindly."
    if rejected:
        return "review", f"{count}; only {share}: the graph is on to something, look at the suspect edges."
    if not rejects(found.p_value, level):
        return "review", f"{count}, but {share}: these data can't tell it from a graph drawn blindly."
    return "pass", f"{count}, and only {share}."
