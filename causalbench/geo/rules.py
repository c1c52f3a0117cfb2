r"""Rules of a geo experiment as linear rows over "market i is in cell k", one named rule per key and market.

With :math:`x_{ki} \in \{0, 1\}`, k = 0 for the controls and from 1 up for the treated cells, every market is in at most one
cell, :math:`\sum_k x_{ki} \le 1`, and a rule asks for :math:`l \le Ax \le u`. The same rows say whether a split is
admissible, what is wrong with it, and which rules contradict each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from causalbench.errors import DataError, listing, nearest
from causalbench.geo.markets import Markets
from causalbench.geo.split import CONTROL
from causalbench.study.geo_study import CONTROL as CONTROL_NAME
from causalbench.study.geo_study import Buffer, Geo
from causalbench.values import BoolArray, FloatArray

_TOLERANCE = 1e-9

SINGLE = ("busy", "include", "exclude")
"""Kinds of rules that speak of one market: whether it may, or must, be in a cell."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rule:
    """One rule under the name that a report or an error gives it.

    Attributes
    ----------
    kind
        The key of ``[geo]`` that it comes from; ``cells`` for what no study can do without.
    name
        How it is called, such as ``include of cell a (chicago)``.
    weights
        Sparse rows over the cells' markets, shape (n_rows, (n_cells + 1) * n_units), control first.
    lower, upper
        Bounds of each row, possibly infinite; shape (n_rows,).
    subjects
        What each row speaks of, in words.
    values
        Where not empty, each row must equal one of them: candidate numbers of markets may have gaps.
    market
        The only market that it speaks of.
    """

    kind: str
    name: str
    weights: Any
    lower: FloatArray
    upper: FloatArray
    subjects: tuple[str, ...]
    values: tuple[int, ...] = ()
    market: str = ""

    def broken(self, members: FloatArray) -> Iterator[str]:
        """Yield a sentence for every row that a split breaks; ``members`` are its x, flattened."""
        amounts = self.weights @ members
        wrong = (amounts < self.lower - _TOLERANCE) | (amounts > self.upper + _TOLERANCE)
        if self.values:
            wrong |= ~np.isin(np.rint(amounts), self.values)
        for row in np.flatnonzero(wrong):
            subject = self.subjects[row]
            if self.kind in SINGLE or self.kind == "buffer":
                yield f"{self.name}: {subject}"
            else:
                yield f"{self.name}: {subject} has {amounts[row]:.6g}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Setting:
    """What rules are written with.

    ``cells`` are the names of the treated cells, ``shares`` and ``outcomes`` each market's share of the total and mean outcome
    per period, ``near`` who may not be the control of whom; ``adds_up`` says whether shares and sums mean anything.
    """

    geo: Geo
    units: tuple[str, ...]
    shares: FloatArray
    outcomes: FloatArray
    near: BoolArray
    markets: Markets | None
    adds_up: bool

    @property
    def shape(self) -> tuple[int, int]:
        """Number of cells, control included, and of markets."""
        return len(self.geo.cells) + 1, len(self.units)

    @property
    def treated(self) -> range:
        """Numbers of the treated cells."""
        return range(CONTROL + 1, self.shape[0])

    def number(self, cell: str) -> int:
        """Return the number of a cell."""
        return CONTROL if cell == CONTROL_NAME else self.geo.cells.index(cell) + 1

    def title(self, cell: int) -> str:
        """Return what a cell is called in sentences."""
        return CONTROL_NAME if cell == CONTROL else f"cell {self.geo.cells[cell - 1]}"

    def row(self, cells: Iterable[int], amounts: FloatArray) -> FloatArray:
        """Write one row: these amounts in each of these cells."""
        whole = np.zeros(self.shape)
        whole[list(cells)] = amounts
        return whole.ravel()

    def markets_of(self, names: Iterable[str], key: str) -> list[int]:
        """Return the row numbers of named markets, refusing unknown ones with the nearest name."""
        position = {unit: i for i, unit in enumerate(self.units)}
        wanted = list(dict.fromkeys(names))
        unknown = [f"{name!r}{nearest(name, self.units)}" for name in wanted if name not in position]
        if unknown:
            raise DataError(
                f"[geo] {key} names no market of the history: {'; '.join(unknown)}",
                remedy=f"mend {key}; the history has {len(self.units)} markets",
            )
        return [position[name] for name in wanted]


def rules_of(setting: Setting) -> tuple[Rule, ...]:
    """Write every rule of a study, those about single markets in the order of the keys and names."""
    return (
        _least(setting),
        *_singles(setting),
        *_counts(setting),
        *_shares(setting),
        *_budgets(setting),
        *_controls(setting),
        *_quotas(setting),
        *_buffers(setting),
    )


def names_of(rules: Iterable[Rule]) -> tuple[str, ...]:
    """Return the names of rules, those of one title over several markets as one: ``include (boston, reno)``."""
    markets: dict[str, list[str]] = {}
    for rule in rules:
        title = rule.name.removesuffix(f" ({rule.market})") if rule.market else rule.name
        markets.setdefault(title, []).extend([rule.market] if rule.market else [])
    return tuple(f"{title} ({listing(found, limit=8)})" if found else title for title, found in markets.items())


def _rule(
    kind: str,
    name: str,
    rows: list[FloatArray],
    bounds: tuple[float, float],
    subjects: Iterable[str],
    *,
    values: tuple[int, ...] = (),
) -> Rule:
    lower, upper = (np.full(len(rows), float(bound)) for bound in bounds)
    weights = sparse.csr_array(np.vstack(rows))
    return Rule(
        kind=kind, name=name, weights=weights, lower=lower, upper=upper, subjects=tuple(subjects), values=values
    )


def _least(setting: Setting) -> Rule:
    """No experiment without a market in every cell and one control."""
    cells, ones = range(setting.shape[0]), np.ones(setting.shape[1])
    rows = [setting.row([cell], ones) for cell in cells]
    return _rule("cells", "a market in every cell and one control", rows, (1, np.inf), map(setting.title, cells))


def _singles(setting: Setting) -> Iterator[Rule]:
    geo, every = setting.geo, range(setting.shape[0])

    def single(kind: str, name: str, market: int, cells: Iterable[int], *, needed: bool) -> Rule:
        row = setting.row(cells, np.arange(setting.shape[1]) == market)
        unit = setting.units[market]
        bounds, subject = ((1.0, np.inf), f"{unit} isn't there") if needed else ((-np.inf, 0.0), f"{unit} is there")
        return replace(_rule(kind, f"{name} ({unit})", [row], bounds, [subject]), market=unit)

    for market in setting.markets_of(geo.busy, "busy"):
        yield single("busy", "busy", market, every, needed=False)
    for key, needed in (("include", True), ("exclude", False)):
        given = getattr(geo, key)
        if not isinstance(given, Mapping):
            for market in setting.markets_of(given, key):
                yield single(key, key, market, setting.treated, needed=needed)
            continue
        for cell, names in given.items():
            number = setting.number(cell)
            title = f"{key} of {setting.title(number)}"
            for market in setting.markets_of(names, title):
                yield single(key, title, market, [number], needed=needed)


def _counts(setting: Setting) -> Iterator[Rule]:
    counts = setting.geo.market_counts
    if counts is not None:
        rows = [setting.row([cell], np.ones(setting.shape[1])) for cell in setting.treated]
        values = tuple(sorted(set(counts)))
        name = f"market_counts {', '.join(map(str, values))}"
        titles = map(setting.title, setting.treated)
        yield _rule("market_counts", name, rows, (values[0], values[-1]), titles, values=values)


def _by_cell(setting: Setting, key: str) -> Iterator[tuple[str, float, list[int]]]:
    """Yield name, value and cells of a key that is one number, or a table by cell."""
    given = getattr(setting.geo, key)
    if given is None:
        return
    if not isinstance(given, Mapping):
        yield f"{key} {given:g}", float(given), list(setting.treated)
        return
    for cell, value in given.items():
        number = setting.number(cell)
        yield f"{key} {value:g} of {setting.title(number)}", float(value), [number]


def _require_sums(setting: Setting, key: str) -> None:
    if not setting.adds_up:
        raise DataError(
            f"[geo] {key} needs an outcome that adds up to a positive total; this one is a rate, a mean or a logarithm, or "
            "a market's total is negative",
            remedy=f"leave {key} out, or name a metric that is a sum",
        )


def _shares(setting: Setting) -> Iterator[Rule]:
    for key in ("min_share", "max_share"):
        for name, value, cells in _by_cell(setting, key):
            _require_sums(setting, key)
            rows = [setting.row([cell], setting.shares) for cell in cells]
            bounds = (value, np.inf) if key == "min_share" else (-np.inf, value)
            yield _rule(key, name, rows, bounds, [f"the share of {setting.title(cell)}" for cell in cells])


def _budgets(setting: Setting) -> Iterator[Rule]:
    geo = setting.geo
    if geo.budget is None or geo.cost_per_incremental is None:
        return
    _require_sums(setting, "budget")
    effect = geo.smallest_worthwhile_effect
    if effect is None:
        return
    periods = min(geo.durations)
    costs = geo.cost_per_incremental * effect * periods * setting.outcomes
    for name, value, cells in _by_cell(setting, "budget"):
        rows = [setting.row([cell], costs) for cell in cells]
        title = f"{name} at an effect of {effect:g} over {periods} periods"
        yield _rule("budget", title, rows, (-np.inf, value), [f"the cost of {setting.title(cell)}" for cell in cells])


def _controls(setting: Setting) -> Iterator[Rule]:
    most = setting.geo.max_controls
    if most is not None:
        row = setting.row([CONTROL], np.ones(setting.shape[1]))
        yield _rule("max_controls", f"max_controls {most}", [row], (-np.inf, most), [CONTROL_NAME])


def _quotas(setting: Setting) -> Iterator[Rule]:
    for quota in setting.geo.quotas:
        if setting.markets is None:
            raise DataError("[geo] quotas needs the table of markets", remedy="name it under [geo] markets")
        if quota.cell is not None and quota.cell not in (*setting.geo.cells, CONTROL_NAME):
            raise DataError(
                f"a quota names no cell: {quota.cell!r}{nearest(quota.cell, setting.geo.cells)}",
                remedy=f"cells are {', '.join(setting.geo.cells)}",
            )
        cells = list(setting.treated) if quota.cell is None else [setting.number(quota.cell)]
        where = "" if quota.cell is None else f" in {setting.title(cells[0])}"
        limits = [f"min {quota.min}"] if quota.min else []
        limits += [] if quota.max is None else [f"max {quota.max}"]
        row = setting.row(cells, setting.markets.having(quota.column, quota.value).astype(float))
        name = f"quota {quota.column} = {quota.value}{where} ({', '.join(limits) or 'no limit'})"
        bounds = (quota.min, np.inf if quota.max is None else quota.max)
        yield _rule("quotas", name, [row], bounds, [f"{quota.column} {quota.value}{where}"])


def _buffers(setting: Setting) -> Iterator[Rule]:
    if not setting.near.any():
        return
    n_cells, n = setting.shape
    left, right = np.nonzero(setting.near)
    rows = np.repeat(np.arange(len(left)), n_cells)
    cells = np.tile(np.arange(n_cells), len(left))
    markets = np.where(cells == CONTROL, np.repeat(right, n_cells), np.repeat(left, n_cells))
    weights = sparse.csr_array((np.ones(len(rows)), (rows, cells * n + markets)), shape=(len(left), n_cells * n))
    names = setting.units
    yield Rule(
        kind="buffer",
        name=f"buffer ({_buffer_title(setting.geo.buffer)})",
        weights=weights,
        lower=np.full(len(left), -np.inf),
        upper=np.ones(len(left)),
        subjects=tuple(
            f"{names[j]} is a control near {names[i]}" for i, j in zip(left.tolist(), right.tolist(), strict=True)
        ),
    )


def _buffer_title(buffer: Buffer | None) -> str:
    if buffer is None:
        return "near"
    detail = {"adjacency": f"{buffer.hops} hops", "distance": f"{buffer.km} km", "commuting": f"share {buffer.share}"}
    return f"{buffer.kind}, {detail[buffer.kind]}"
