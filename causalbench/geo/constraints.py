"""The one language of constraints: which market may, must or must not be in which cell, for every selector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np

from causalbench.data.panel import Panel
from causalbench.errors import DataError, RefusalError
from causalbench.geo.conflicts import feasible_cells, smallest_conflict
from causalbench.geo.markets import Markets
from causalbench.geo.rules import SINGLE, Rule, Setting, names_of, rules_of
from causalbench.geo.split import CONTROL, LEFT_OUT, Split
from causalbench.study.geo_study import CONTROL as CONTROL_NAME
from causalbench.study.geo_study import Geo
from causalbench.values import BoolArray, FloatArray, IntArray, frozen_array

_TOLERANCE = 1e-9
_FIRST = 10.0
"""Added to the correlation of a market that must be a control, so that it is kept before any other."""

Kind = Literal["holdback", "go-dark", "heavy-up"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Constraints:
    r"""What a split of these markets must satisfy.

    - ``include``: a plain list must be treated, in whichever cell; a table says in which, ``control`` among them.
    - ``exclude``: a plain list may not be treated but may be a control; a table says where a market may not be.
    - ``busy``: in other tests, so neither treated nor control.
    - ``market_counts``: the number of markets of each treated cell is one of these.
    - ``min_share``, ``max_share``: bounds on each treated cell's share of the total outcome of all markets, busy ones too.
    - ``budget``: with ``smallest_worthwhile_effect``, the cost of that effect over the shortest duration (see
      :meth:`investment`) may not exceed it in any cell. Without, nothing is ruled out here; the caller compares the
      investment at the detectable effect with it.
    - ``max_controls``: the markets kept are those that follow the treated best: highest correlation of their path with the
      mean path of the treated cell, averaged over the cells.
    - ``quotas``: numbers of treated markets, of one cell or of all, with a value in a column of ``markets``.
    - ``buffer``: a market near a treated one can't be a control. Treated markets may be near each other, also across cells.

    A market may always be left out. Compile them on the part of the history that the selector sees, since shares, costs and
    correlations come from there.

    Attributes
    ----------
    cells, units
        Names of the treated cells and of the markets.
    kind
        ``holdback``, ``heavy-up`` or ``go-dark``; see :attr:`sign` and :meth:`investment` for what it changes.
    eligible
        Whether a market may be in a cell, shape (n_cells + 1, n_units), control first.
    forced
        The cell that a market must be in, -1 where none is said; shape (n_units,).
    included
        Whether a market must be treated, in whichever cell; shape (n_units,).
    shares
        Each market's part of the total outcome, shape (n_units,).
    outcomes
        Mean outcome per period, shape (n_units,).
    market_counts
        Allowed numbers of markets per treated cell, ascending; None: any.
    max_controls
        Largest number of controls; None: any.
    control_share
        Largest share of the controls.
    cost_per_incremental, budgets
        What one more unit of the outcome costs; and each treated cell's budget, infinite where there is none.
    near
        Whether two markets are too near for a treated one and its control, shape (n_units, n_units).
    rules
        All of the above as named rows.
    gram
        Inner products of the paths about their means, shape (n_units, n_units).
    markets
        The table of markets.
    """

    cells: tuple[str, ...]
    units: tuple[str, ...]
    kind: Kind
    eligible: BoolArray
    forced: IntArray
    included: BoolArray
    shares: FloatArray
    outcomes: FloatArray
    market_counts: tuple[int, ...] | None
    max_controls: int | None
    control_share: float | None
    cost_per_incremental: float | None
    budgets: FloatArray
    near: BoolArray
    rules: tuple[Rule, ...]
    gram: FloatArray
    markets: Markets | None = None

    def __post_init__(self) -> None:
        n = len(self.units)
        for name, dtype, shape in (
            ("eligible", np.bool_, (self.n_cells + 1, n)),
            ("forced", np.int64, (n,)),
            ("included", np.bool_, (n,)),
            ("shares", np.float64, (n,)),
            ("outcomes", np.float64, (n,)),
            ("budgets", np.float64, (self.n_cells,)),
            ("near", np.bool_, (n, n)),
            ("gram", np.float64, (n, n)),
        ):
            object.__setattr__(self, name, frozen_array(getattr(self, name), dtype=dtype, shape=shape, name=name))

    @classmethod
    def compile(
        cls, geo: Geo, history: Panel, *, markets: Markets | None = None, near: BoolArray | None = None
    ) -> Self:
        """Read the constraints of a study for the markets of a history.

        Parameters
        ----------
        geo
            The table ``[geo]``.
        history
            The part of the history that the selector sees.
        markets
            The table of markets, which quotas need.
        near
            Which markets are too near to each other, shape (n_units, n_units); made symmetric.

        Raises
        ------
        DataError
            When a name, a column or a value doesn't exist, or the outcome has no shares.

        Examples
        --------
        >>> import numpy as np
        >>> outcome = np.array([[4.0, 5.0, 6.0], [2.0, 2.0, 3.0], [1.0, 2.0, 2.0]])
        >>> history = Panel(outcome=outcome, treated=outcome < 0, units=("a", "b", "c"), periods=(1, 2, 3))
        >>> limits = Constraints.compile(Geo(market_counts=(1,), exclude=("a",)), history)
        >>> limits.admissible(np.array([[1, 0, 0], [0, 1, 0], [0, 1, 1]])).tolist()
        [False, True, False]
        >>> limits.violations(Split(cells=np.array([1, 0, 0])))
        ('exclude (a): a is there',)
        """
        totals = np.nansum(history.outcome, axis=1)
        adds_up = history.additive and bool(totals.sum() > 0) and bool((totals >= 0).all())
        n = len(history.units)
        close = np.zeros((n, n), dtype=bool) if near is None else np.array(near, dtype=bool)
        if close.shape != (n, n):
            raise ValueError(f"near has shape {close.shape}, expected {(n, n)}")
        close = (close | close.T) & ~np.eye(n, dtype=bool)
        outcomes = np.array([np.nanmean(row) if np.isfinite(row).any() else 0.0 for row in history.outcome])
        setting = Setting(
            geo=geo,
            units=history.units,
            shares=totals / totals.sum() if adds_up else np.full(n, 1 / n),
            outcomes=outcomes,
            near=close,
            markets=markets,
            adds_up=adds_up,
        )
        rules = rules_of(setting)
        eligible, forced, included = _single_markets(rules, setting.shape)
        budget = geo.budget if isinstance(geo.budget, Mapping) else dict.fromkeys(geo.cells, geo.budget)
        most = geo.max_share.get(CONTROL_NAME) if isinstance(geo.max_share, Mapping) else None
        paths = np.nan_to_num(history.outcome - outcomes[:, None])
        return cls(
            cells=geo.cells,
            units=history.units,
            kind=geo.kind,
            eligible=eligible,
            forced=forced,
            included=included,
            shares=setting.shares,
            outcomes=outcomes,
            market_counts=None if geo.market_counts is None else tuple(sorted(set(geo.market_counts))),
            max_controls=geo.max_controls,
            control_share=most,
            cost_per_incremental=geo.cost_per_incremental,
            budgets=np.array([budget.get(cell) or np.inf for cell in geo.cells]),
            near=close,
            rules=rules,
            gram=paths @ paths.T,
            markets=markets,
        )

    @property
    def n_cells(self) -> int:
        """Number of treated cells."""
        return len(self.cells)

    @property
    def sign(self) -> int:
        """Direction of the effect that is looked for: -1 when something is switched off (``go-dark``), else 1."""
        return -1 if self.kind == "go-dark" else 1

    def investment(self, cells: IntArray, *, relative_effect: float, duration: int) -> FloatArray:
        r"""Return what an effect costs in every treated cell, in the unit of ``cost_per_incremental``.

        :math:`c\,\lvert\delta\rvert\, T \sum_{i \in k} \bar y_i` with c the cost of one more unit of the outcome, T periods, and
        :math:`\bar y_i` the mean outcome per period. Its meaning depends on the kind: what a ``holdback`` spends on the treated
        markets, what a ``heavy-up`` spends there **on top of** the usual, and what a ``go-dark`` **withholds** there; a
        budget bounds the amount in all three.

        Parameters
        ----------
        cells
            Cell of every market, shape (n_splits, n_units) or (n_units,).
        relative_effect
            Effect as a fraction of the outcome; its sign is ignored.
        duration
            Number of periods.

        Returns
        -------
        ndarray
            Shape (n_splits, n_cells).

        Raises
        ------
        DataError
            When the study has no ``cost_per_incremental``.
        """
        if self.cost_per_incremental is None:
            raise DataError("an investment needs [geo] cost_per_incremental", remedy="say what one more unit costs")
        cells = np.atleast_2d(cells)
        totals = np.stack([(cells == k + 1) @ self.outcomes for k in range(self.n_cells)], axis=1)
        costs: FloatArray = self.cost_per_incremental * abs(relative_effect) * duration * totals
        return costs

    def admissible(self, cells: IntArray) -> BoolArray:
        """Tell which splits satisfy every rule.

        Parameters
        ----------
        cells
            Cell of every market, shape (n_splits, n_units): -1 left out, 0 control, from 1 up the treated cells.

        Returns
        -------
        ndarray
            Shape (n_splits,).
        """
        cells = np.atleast_2d(cells)
        good: BoolArray = (cells.max(axis=1) <= self.n_cells) & ~(self.included & (cells <= CONTROL)).any(axis=1)
        good &= ((self.forced < CONTROL) | (cells == self.forced)).all(axis=1)
        for k in range(self.n_cells + 1):
            good &= ~((cells == k) & ~self.eligible[k]).any(axis=1)
        if self.near.any():
            good &= ~(self._near_treated(cells) & (cells == CONTROL)).any(axis=1)
        rest = [rule for rule in self.rules if rule.kind not in SINGLE and rule.kind != "buffer"]
        members = np.hstack([cells == k for k in range(self.n_cells + 1)]).astype(float)
        for rule in rest:
            amounts = (rule.weights @ members.T).T
            inside = (amounts >= rule.lower - _TOLERANCE) & (amounts <= rule.upper + _TOLERANCE)
            if rule.values:
                inside &= np.isin(np.rint(amounts), rule.values)
            good &= inside.all(axis=1)
        return good

    def controls(self, treated: IntArray) -> BoolArray:
        """Tell which markets become the controls of treated markets, shape (n_splits, n_units); see :meth:`complete`.

        Parameters
        ----------
        treated
            Cell of every treated market, 0 or less for all others; shape (n_splits, n_units).
        """
        treated = np.atleast_2d(treated)
        free: BoolArray = self.eligible[CONTROL] & (treated <= CONTROL)
        if self.near.any():
            free = free & ~self._near_treated(treated)
        if self.max_controls is None and self.control_share is None:
            return free
        order = np.argsort(np.where(free, -self._following(treated), np.inf), axis=1, kind="stable")
        kept = np.take_along_axis(free, order, axis=1)
        if self.max_controls is not None:
            kept[:, self.max_controls :] = False
        if self.control_share is not None:
            kept &= np.cumsum(self.shares[order] * kept, axis=1) <= self.control_share + _TOLERANCE
        chosen = np.zeros_like(free)
        np.put_along_axis(chosen, order, kept, axis=1)
        return chosen

    def completed(self, treated: IntArray) -> IntArray:
        """Fill in the controls of many splits, shape (n_splits, n_units); see :meth:`complete`."""
        treated = np.atleast_2d(treated)
        return np.where(treated > CONTROL, treated, np.where(self.controls(treated), CONTROL, LEFT_OUT))

    def complete(self, treated: IntArray) -> Split:
        """Fill in the controls: every market that may be one and isn't near a treated one, the best followers where limited.

        Parameters
        ----------
        treated
            Cell of every treated market, 0 or less for all others; shape (n_units,).
        """
        return Split(cells=self.completed(treated)[0])

    def apart(self, cells: IntArray) -> BoolArray:
        """Tell which markets aren't near a treated one, shape (n_splits, n_units)."""
        return ~self._near_treated(np.atleast_2d(cells))

    def violations(self, split: Split) -> tuple[str, ...]:
        """Say which rules a split breaks, one sentence each with rule and market; empty for an admissible one."""
        if split.n_cells > self.n_cells:
            return (f"cells: the split has {split.n_cells} treated cells, the study names {self.n_cells}",)
        members = np.concatenate([split.cells == k for k in range(self.n_cells + 1)]).astype(float)
        return tuple(sentence for rule in self.rules for sentence in rule.broken(members))

    def buffered(self, split: Split) -> tuple[str, ...]:
        """Name the markets that could be controls but are left out, as they are near a treated one."""
        lost = self.eligible[CONTROL] & (split.cells == LEFT_OUT) & self._near_treated(split.cells[None])[0]
        return tuple(unit for unit, gone in zip(self.units, lost, strict=True) if gone)

    def require_feasible(self) -> None:
        """Refuse rules that no split satisfies, naming the smallest set of them that contradicts itself.

        Raises
        ------
        RefusalError
            With the rules by name.
        """
        conflict = smallest_conflict(self.rules, self.n_cells, len(self.units), sizes=self.shares)
        if conflict is None:
            return
        names = " and ".join(names_of(conflict.rules))
        smallest = "the smallest set of rules that conflicts" if conflict.proved else "no rule of these can be spared"
        verb = "can't be kept" if len(conflict.rules) == 1 else "can't hold together"
        raise RefusalError(
            f"no split of the {len(self.units)} markets satisfies [geo]: {names} {verb} ({smallest})",
            code="CB-G001",
            remedy="loosen or leave out one of them",
        )

    def example(self, *, costs: FloatArray | None = None, extra: tuple[Rule, ...] = ()) -> IntArray | None:
        """Return one admissible split, the cheapest by ``costs`` (n_cells + 1, n_units); None where there is none."""
        return feasible_cells((*self.rules, *extra), self.n_cells, len(self.units), costs=costs)

    def reordered(self, order: IntArray) -> Constraints:
        """Return the same constraints with the markets in another order."""
        n = len(self.units)
        columns = (np.arange(self.n_cells + 1)[:, None] * n + order).ravel()
        markets = self.markets
        if markets is not None:
            texts = {name: tuple(text[i] for i in order) for name, text in markets.columns.items()}
            markets = Markets(units=tuple(markets.units[i] for i in order), columns=texts)
        return replace(
            self,
            units=tuple(self.units[i] for i in order),
            eligible=self.eligible[:, order],
            forced=self.forced[order],
            included=self.included[order],
            shares=self.shares[order],
            outcomes=self.outcomes[order],
            near=self.near[np.ix_(order, order)],
            gram=self.gram[np.ix_(order, order)],
            rules=tuple(replace(rule, weights=rule.weights[:, columns]) for rule in self.rules),
            markets=markets,
        )

    def _near_treated(self, cells: IntArray) -> BoolArray:
        near: BoolArray = (cells > CONTROL).astype(np.float32) @ self.near.astype(np.float32) > 0
        return near

    def _following(self, treated: IntArray) -> FloatArray:
        """Correlation of every market's path with the mean path of the treated cells, averaged; shape (n_splits, n_units)."""
        sizes = np.sqrt(np.maximum(np.diag(self.gram), 1e-300))
        total = np.zeros(treated.shape)
        for k in range(1, self.n_cells + 1):
            mine = (treated == k).astype(float)
            cross = mine @ self.gram
            norms = np.sqrt(np.maximum((cross * mine).sum(axis=1), 1e-300))
            total += cross / (norms[:, None] * sizes) / self.n_cells
        total += _FIRST * (self.forced == CONTROL)
        return total


def _single_markets(rules: tuple[Rule, ...], shape: tuple[int, int]) -> tuple[BoolArray, IntArray, BoolArray]:
    """Read which cells each market may be in, which one it must be in, and whether it must be treated in any."""
    eligible = np.ones(shape, dtype=bool)
    forced, included = np.full(shape[1], -1), np.zeros(shape[1], dtype=bool)
    for rule in rules:
        if rule.kind not in SINGLE:
            continue
        cells, markets = np.nonzero(rule.weights.toarray().reshape(shape))
        if rule.kind != "include":
            eligible[cells, markets] = False
            continue
        # Two cells that claim one market leave it none.
        eligible[np.setdiff1d(np.arange(shape[0]), cells), markets[0]] = False
        if len(cells) == 1:
            forced[markets[0]] = cells[0]
        else:
            included[markets[0]] = True
    return eligible, forced, included
