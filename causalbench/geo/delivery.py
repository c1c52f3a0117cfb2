"""Was the design delivered? Planned against actual treatment, spend, and the split of the outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from causalbench.data.calendar import Period
from causalbench.data.panel import Panel
from causalbench.errors import DataError, listing
from causalbench.geo.randomization import with_actual
from causalbench.geo.split import CONTROL, LEFT_OUT, Split
from causalbench.values import FloatArray, IntArray, Verdict, frozen_array

Kind = Literal["not-planned", "not-delivered", "wrong-cell", "missing", "new"]

REVIEW_BELOW, FAIL_BELOW = 0.01, 0.001
"""Tail share of a split ratio among the design's draws below which it is looked at, and below which it fails."""

_SPEND_OFF = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """One market that didn't get what was planned.

    Attributes
    ----------
    market, planned, got
        Its name and the names of the cells; ``got`` is empty where there are no data of it.
    kind
        ``not-planned``: a control or a market left out got a treatment; ``not-delivered``: a treated market didn't get
        its own; ``wrong-cell``: it got another cell's; ``missing``: planned, but not in the data (merged or renamed);
        ``new``: in the data, but not in the plan.
    since, until
        First and last period of it, None for markets missing or new.
    n_periods
        Number of periods of the test in which it was so.
    """

    market: str
    planned: str
    got: str
    kind: Kind
    since: Period | None
    until: Period | None
    n_periods: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """What one cell spent during the test, against plan; ``ratio`` None without a plan."""

    cell: str
    planned: float | None
    actual: float
    ratio: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRatio:
    """A cell's share of the outcome before the test, held against the design's own draws.

    Attributes
    ----------
    cell, share
        Its share of the outcome of all cells before the test.
    expected, low, high
        Median, 5th and 95th percentile of that share over the draws; None without draws.
    tail_share
        Twice the smaller share of draws that lie at or beyond it, at most 1; a p-value of random assignment.
    verdict
        ``not_evaluable`` without draws.
    """

    cell: str
    share: float
    expected: float | None
    low: float | None
    high: float | None
    tail_share: float | None
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Delivery:
    """How the test ran against its plan.

    Attributes
    ----------
    verdict
        ``fail``: markets departed from the plan, or the split isn't one that the design draws; ``review``: spend is more than a
        tenth off, controls spent, or the split is a rare one; ``not_evaluable`` where nothing says what was delivered.
    still_random
        Whether the comparison may be called randomized: a random design, whose markets all got what was drawn for them.
    departures
        Market by market, in the order of their names.
    planned_counts, actual_counts
        Number of markets by cell.
    spend, spending_controls
        By cell, and the controls that spent during the test more than before it.
    split_ratio
        By treated cell.
    received
        Cell whose treatment each market of the panel got at some time of the test, shape (n_units,): the one that it got
        longest; 0 where it got none, -1 for markets out of the test.
    got
        Cell whose treatment each market got in each period, 0 for none, shape (n_units, n_periods); the plan where nobody wrote
        it down.
    sentences
        What to tell the reader.
    grade_cap
        Why the grade is capped; None where it isn't.
    """

    verdict: Verdict
    still_random: bool
    departures: tuple[Departure, ...]
    planned_counts: Mapping[str, int]
    actual_counts: Mapping[str, int]
    spend: tuple[Spend, ...]
    spending_controls: tuple[str, ...]
    split_ratio: tuple[SplitRatio, ...]
    received: IntArray
    got: IntArray
    sentences: tuple[str, ...]
    grade_cap: str | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "received", frozen_array(self.received, dtype=np.int64))
        object.__setattr__(self, "got", frozen_array(self.got, dtype=np.int64))


def delivery(
    planned: Split,
    actual: IntArray | None,
    *,
    markets: Sequence[str],
    panel: Panel,
    names: Sequence[str],
    start: int,
    end: int,
    randomized: bool = False,
    draws: IntArray | None = None,
    spend: FloatArray | None = None,
    planned_spend: Mapping[str, float] | None = None,
) -> Delivery:
    r"""Compare what was planned with what happened, market by market and period by period.

    Lists are compared exactly: one market in the wrong cell is a departure. The split ratio asks whether this split looks
    like one that the design draws: the cell's share :math:`s` of the outcome before the test against the same share
    under the design's own draws, :math:`2 \min\{P(s' \le s), P(s' \ge s)\}`. Counting users instead and testing them
    against equal shares with a chi-square supposes that users were randomised one by one; markets are large and unequal, so
    that test finds a fault in nearly every clean split of markets.

    Parameters
    ----------
    planned
        The plan's cells, aligned with ``markets``.
    actual
        Number of the cell whose treatment each market really got in each period, shape (n_units, n_periods) of the panel, 0
        for none; None where nobody wrote it down.
    markets
        The plan's markets.
    panel
        Outcome of history and test.
    names
        Names of the treated cells.
    start, end
        Index of the first and of the last period of the test.
    randomized
        Whether the plan's cells were drawn at random.
    draws
        The design's own draws, shape (n_draws, n_markets), aligned with ``markets``; None for a chosen split.
    spend
        By market and period, shape (n_units, n_periods); None without.
    planned_spend
        Amount by cell for the whole test; None without.

    Examples
    --------
    >>> import numpy as np
    >>> panel = Panel(outcome=np.ones((2, 4)), treated=np.zeros((2, 4), bool), units=("a", "b"), periods=(1, 2, 3, 4))
    >>> got = np.array([[0, 0, 1, 1], [0, 0, 0, 1]])
    >>> found = delivery(Split(cells=np.array([1, 0])), got, markets=("a", "b"), panel=panel, names=("ads",), start=2, end=3,
    ...                  randomized=True)
    >>> found.verdict, found.still_random, [(d.market, d.kind, d.since) for d in found.departures]
    ('fail', False, [('b', 'not-planned', 4)])
    """
    labels = _Labels(names=("left out", "control", *names))
    plan = _on_panel(planned, markets, panel)
    got = None if actual is None else np.asarray(actual)
    if got is not None and got.shape != panel.outcome.shape:
        raise ValueError(f"actual has shape {got.shape}, expected {panel.outcome.shape}")
    if got is not None and (got.max(initial=0) > len(names) or got.min(initial=0) < 0):
        raise DataError(
            f"actual treatment names cell {int(got.max())}, the plan has {len(names)}", remedy="name a cell of the plan"
        )
    departures = (*_list_changes(planned, markets, panel, labels), *_departures(plan, got, panel, labels, start, end))
    received = plan.copy() if got is None else _received(plan, got[:, start : end + 1])
    spent, spenders = _spend(plan, panel, labels, start, end, spend, planned_spend)
    ratios = _split_ratios(planned, markets, panel, names, start, draws)
    periods = np.arange(len(panel.periods))
    by_plan = np.where((periods >= start) & (periods <= end), np.maximum(plan, CONTROL)[:, None], CONTROL)
    verdict = _verdict(departures, spent, spenders, ratios, known=got is not None)
    clean = not departures and all(ratio.verdict != "fail" for ratio in ratios)
    sentences = tuple(_sentences(departures, spent, spenders, ratios, randomized=randomized, known=got is not None))
    return Delivery(
        verdict=verdict,
        still_random=randomized and clean,
        departures=tuple(sorted(departures, key=lambda d: (d.market, d.n_periods))),
        planned_counts=labels.counts(np.asarray(planned.cells)),
        actual_counts=labels.counts(received),
        spend=spent,
        spending_controls=spenders,
        split_ratio=ratios,
        received=received,
        got=by_plan if got is None else got,
        sentences=sentences,
        grade_cap=None if clean or not randomized else _CAP,
    )


_CAP = (
    "The grade is capped below that of a randomized experiment: what was delivered isn't what was drawn, so who got the "
    "treatment was decided by something other than chance."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Labels:
    """Names of the cells from -1 up."""

    names: tuple[str, ...]

    def of(self, cell: int) -> str:
        return self.names[cell + 1]

    def counts(self, cells: IntArray) -> dict[str, int]:
        return {name: int((cells == i - 1).sum()) for i, name in enumerate(self.names)}


def _on_panel(planned: Split, markets: Sequence[str], panel: Panel) -> IntArray:
    """Return the planned cell of every market of the panel; -1 where the plan doesn't know it."""
    if len(markets) != len(planned.cells):
        raise ValueError(f"{len(markets)} markets for {len(planned.cells)} planned cells")
    cell_of = dict(zip(markets, planned.cells.tolist(), strict=True))
    return np.array([cell_of.get(unit, LEFT_OUT) for unit in panel.units], dtype=np.int64)


def _list_changes(planned: Split, markets: Sequence[str], panel: Panel, labels: _Labels) -> list[Departure]:
    """Find markets of one list that the other doesn't have; a market left out by plan may be absent."""
    there, known = set(panel.units), set(markets)
    gone = [
        Departure(market=m, planned=labels.of(cell), got="", kind="missing", since=None, until=None, n_periods=0)
        for m, cell in zip(markets, planned.cells.tolist(), strict=True)
        if m not in there and cell != LEFT_OUT
    ]
    new = [
        Departure(market=m, planned="", got="", kind="new", since=None, until=None, n_periods=0)
        for m in panel.units
        if m not in known
    ]
    return [*gone, *new]


def _departures(
    plan: IntArray, got: IntArray | None, panel: Panel, labels: _Labels, start: int, end: int
) -> list[Departure]:
    """Find market by market what it got that wasn't planned, and what it didn't get."""
    if got is None:
        return []
    found = []
    wanted = np.maximum(plan, CONTROL)
    during = got[:, start : end + 1]
    for i, unit in enumerate(panel.units):
        for cell in np.unique(during[i]).tolist():
            if cell == wanted[i]:
                continue
            at = start + np.flatnonzero(during[i] == cell)
            kind: Kind = "not-planned" if wanted[i] == CONTROL else "not-delivered" if cell == CONTROL else "wrong-cell"
            found.append(_departure(unit, labels.of(int(plan[i])), labels.of(cell), kind, at, panel))
        early = np.flatnonzero(got[i, :start] != CONTROL)
        if len(early):
            found.append(
                _departure(unit, labels.of(CONTROL), labels.of(int(got[i, early[0]])), "not-planned", early, panel)
            )
    return found


def _departure(unit: str, planned: str, got: str, kind: Kind, at: IntArray, panel: Panel) -> Departure:
    first, last = panel.periods[int(at[0])], panel.periods[int(at[-1])]
    return Departure(market=unit, planned=planned, got=got, kind=kind, since=first, until=last, n_periods=len(at))


def _received(plan: IntArray, during: IntArray) -> IntArray:
    """Return the cell whose treatment each market got longest during the test; controls got none at all."""
    n_cells = int(max(during.max(initial=0), plan.max(initial=0)))
    periods = np.stack([(during == cell).sum(axis=1) for cell in range(1, n_cells + 1)], axis=1)
    served = np.where(periods.max(axis=1) > 0, periods.argmax(axis=1) + 1, CONTROL)
    return np.where((plan == LEFT_OUT) & (served == CONTROL), LEFT_OUT, served).astype(np.int64)


def _spend(
    plan: IntArray,
    panel: Panel,
    labels: _Labels,
    start: int,
    end: int,
    spend: FloatArray | None,
    planned_spend: Mapping[str, float] | None,
) -> tuple[tuple[Spend, ...], tuple[str, ...]]:
    """Return what each cell spent beyond its history, against plan, and the controls that did."""
    if spend is None:
        return (), ()
    during = np.asarray(spend, dtype=float)[:, start : end + 1]
    usual = np.asarray(spend, dtype=float)[:, :start]
    beyond = np.nansum(during - np.nanmean(usual, axis=1, keepdims=True), axis=1)
    rows = []
    for cell in range(CONTROL, len(labels.names) - 1):
        actual, wanted = float(beyond[plan == cell].sum()), (planned_spend or {}).get(labels.of(cell))
        rows.append(
            Spend(cell=labels.of(cell), planned=wanted, actual=actual, ratio=actual / wanted if wanted else None)
        )
    # A control spends where some period of the test lies above everything that it spent before.
    above = (during > np.nanmax(usual, axis=1, keepdims=True)).any(axis=1) & (plan == CONTROL)
    controls = tuple(panel.units[i] for i in np.flatnonzero(above & (np.nanmax(usual, axis=1) <= 0)).tolist())
    return tuple(rows), controls


def _split_ratios(
    planned: Split,
    markets: Sequence[str],
    panel: Panel,
    names: Sequence[str],
    start: int,
    draws: IntArray | None,
) -> tuple[SplitRatio, ...]:
    place = {unit: i for i, unit in enumerate(panel.units)}
    kept = np.array([i for i, market in enumerate(markets) if market in place], dtype=np.int64)
    rows = [place[markets[i]] for i in kept.tolist()]
    sizes = np.nan_to_num(panel.outcome[rows, :start]).sum(axis=1)
    cells = planned.cells[kept]
    every = cells[None] if draws is None else with_actual(planned.cells, draws)[0][:, kept]
    return tuple(split_ratio(name, shares(every, sizes, k), drawn=draws is not None) for k, name in enumerate(names, 1))


def shares(cells: IntArray, sizes: FloatArray, cell: int) -> FloatArray:
    """Return a cell's share of the sizes of all cells under each assignment, shape (n_draws,).

    Parameters
    ----------
    cells
        Assignments, shape (n_draws, n_units).
    sizes
        Of each market, shape (n_units,).
    """
    part: FloatArray = ((cells == cell) @ sizes) / ((cells > LEFT_OUT) @ sizes)
    return part


def split_ratio(cell: str, drawn_shares: FloatArray, *, drawn: bool = True) -> SplitRatio:
    """Judge the first share by all of them; see :func:`delivery`.

    Examples
    --------
    >>> import numpy as np
    >>> found = split_ratio("ads", np.array([0.5, 0.45, 0.5, 0.55]))
    >>> found.tail_share, found.verdict
    (1.0, 'pass')
    """
    share = float(drawn_shares[0])
    if not drawn:
        return SplitRatio(
            cell=cell, share=share, expected=None, low=None, high=None, tail_share=None, verdict="not_evaluable"
        )
    slack = 1e-12
    below = float((drawn_shares <= share + slack).mean())
    above = float((drawn_shares >= share - slack).mean())
    tail = min(1.0, 2 * min(below, above))
    low, middle, high = (float(q) for q in np.quantile(drawn_shares, [0.05, 0.5, 0.95]))
    verdict: Verdict = "fail" if tail < FAIL_BELOW else "review" if tail < REVIEW_BELOW else "pass"
    return SplitRatio(cell=cell, share=share, expected=middle, low=low, high=high, tail_share=tail, verdict=verdict)


def _verdict(
    departures: Sequence[Departure],
    spent: Sequence[Spend],
    spenders: Sequence[str],
    ratios: Sequence[SplitRatio],
    *,
    known: bool,
) -> Verdict:
    if departures or any(ratio.verdict == "fail" for ratio in ratios):
        return "fail"
    off = any(row.ratio is not None and abs(row.ratio - 1) > _SPEND_OFF for row in spent)
    if off or spenders or any(ratio.verdict == "review" for ratio in ratios):
        return "review"
    return "pass" if known or spent else "not_evaluable"


def _sentences(
    departures: Sequence[Departure],
    spent: Sequence[Spend],
    spenders: Sequence[str],
    ratios: Sequence[SplitRatio],
    *,
    randomized: bool,
    known: bool,
) -> list[str]:
    said = [] if known else ["Nothing says what each market really got, so delivery is taken on trust."]
    said += _departure_sentences(departures)
    said += [
        f"Cell {row.cell!r} spent {row.actual:,.6g} of {row.planned:,.6g} planned ({row.ratio:.0%})."
        for row in spent
        if row.planned is not None and row.ratio is not None
    ]
    if spenders:
        said.append(f"{_count(len(spenders), 'control')} spent during the test: {listing(spenders)}.")
    for ratio in ratios:
        if ratio.tail_share is not None and ratio.low is not None and ratio.high is not None:
            said.append(
                f"Cell {ratio.cell!r} had {ratio.share:.1%} of the outcome before the test; the design's own draws give "
                f"{ratio.low:.1%} to {ratio.high:.1%} in nine of ten (two-sided tail share {ratio.tail_share:.3g})."
            )
    failed = any(ratio.verdict == "fail" for ratio in ratios)
    if randomized and (departures or failed):
        said.append(
            "So the comparison isn't called randomized: read the effect of the planned cells (intention to treat) beside the "
            "effect of what markets got (as treated)."
        )
    return said


def _departure_sentences(departures: Sequence[Departure]) -> list[str]:
    verbs: dict[Kind, str] = {
        "not-planned": "got a treatment that wasn't planned there",
        "not-delivered": "didn't get the treatment planned there",
        "wrong-cell": "got another cell's treatment",
        "missing": "planned, but not in the data (merged, renamed or dropped)",
        "new": "in the data, but not in the plan",
    }
    said = []
    for kind, verb in verbs.items():
        rows = [row for row in departures if row.kind == kind]
        if rows:
            named = [f"{row.market} (from {row.since})" if row.since is not None else row.market for row in rows]
            said.append(f"{_count(len(rows), 'market')} {verb}: {listing(named, limit=8)}.")
    return said


def _count(n: int, word: str) -> str:
    return f"{n} {word}" + ("" if n == 1 else "s")
