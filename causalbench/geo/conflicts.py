r"""Rules that can't hold together: a feasible split, or the smallest set of rules without one.

Whether any split satisfies a set R of rules is an integer program over :math:`x_{ki}` (see ``rules``), solved by HiGHS. Where
none does, the smallest conflicting set comes from implicit hitting sets (Ignatiev, Previti, Liffiton and Marques-Silva
2015, CP, 173-182, algorithm 1): every *correction*, a set of rules without which the others can hold, shares a rule with every
conflict. So keep the corrections found so far, take the smallest set H of rules that meets all of them, and either H itself
is infeasible, which makes it the smallest conflict, or the fewest rules to give up beside H are a new correction. These come
from the same program with a switch :math:`y_r` that turns off rule r: :math:`Ax + (l - \min Ax)\, y_r \ge l` and
:math:`Ax - (\max Ax - u)\, y_r \le u`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from causalbench.geo.rules import Rule
from causalbench.values import BoolArray, FloatArray, IntArray

_SECONDS = 10.0
_ROUNDS = 40
"""Corrections to look for before a set is taken that can't be shortened: long lists of markets have very many corrections."""

_OPTIMAL, _STOPPED, _INFEASIBLE = 0, 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Rules that no split can satisfy together; ``proved`` says that no smaller set conflicts."""

    rules: tuple[Rule, ...]
    proved: bool


def feasible_cells(
    rules: Sequence[Rule], n_cells: int, n_units: int, *, costs: FloatArray | None = None
) -> IntArray | None:
    """Return the cell of every market in the cheapest split that satisfies all rules; None where there is none.

    Parameters
    ----------
    rules
        What must hold.
    n_cells, n_units
        Number of treated cells, and of markets.
    costs
        Price of each market in each cell, control first, shape (n_cells + 1, n_units); all splits are alike without.

    Returns
    -------
    ndarray or None
        Shape (n_units,): -1 left out, 0 control, from 1 up the treated cells.
    """
    shape = (n_cells + 1, n_units)
    program = _Program.of(rules, shape)
    prices = np.zeros(program.n_columns)
    if costs is not None:
        prices[: costs.size] = costs.ravel()
    solution = program.solve(np.concatenate([prices, np.zeros(len(rules))]), hard=np.ones(len(rules), dtype=bool))
    if solution is None:
        return None
    members = np.rint(solution[: shape[0] * n_units]).reshape(shape) > 0
    return np.where(members.any(axis=0), members.argmax(axis=0), -1)


def smallest_conflict(
    rules: Sequence[Rule], n_cells: int, n_units: int, *, sizes: FloatArray | None = None
) -> Conflict | None:
    """Return the smallest set of rules that no split satisfies; None where all of them can hold.

    Among sets of one size, the one whose rules come last is kept, so that what no study can do without is named last. After 40
    corrections without a proof, rules are left out one after the other while the rest conflicts, those about the smallest
    markets first: what remains can't be shortened, but a smaller set may exist.

    Parameters
    ----------
    rules
        What can't hold together.
    n_cells, n_units
        Number of treated cells, and of markets.
    sizes
        Size of each market, shape (n_units,).
    """
    program = _Program.of(rules, (n_cells + 1, n_units))
    corrections: list[BoolArray] = []
    for _ in range(_ROUNDS):
        chosen = _smallest_hitting_set(corrections, len(rules))
        try:
            given_up = program.fewest_given_up(chosen)
        except TimeoutError:
            break
        if given_up is None:
            return Conflict(rules=_picked(rules, chosen), proved=True)
        if not given_up.any():
            return None
        corrections.append(given_up)
    return _deletion_filter(rules, n_cells, n_units, np.zeros(n_units) if sizes is None else sizes)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Program:
    """Rows of all rules over x, the choice among allowed numbers, and one switch per rule at the end."""

    rows: sparse.csr_array
    lower: FloatArray
    upper: FloatArray
    n_columns: int
    n_rules: int

    @classmethod
    def of(cls, rules: Sequence[Rule], shape: tuple[int, int]) -> _Program:
        n_members = shape[0] * shape[1]
        n_columns = n_members + sum(len(rule.values) * len(rule.lower) for rule in rules)
        once = sparse.hstack([sparse.eye_array(shape[1])] * shape[0] + [_empty(shape[1], n_columns - n_members)])
        blocks, lows, highs = (
            [sparse.hstack([once, _empty(shape[1], len(rules))])],
            [np.zeros(shape[1])],
            [np.ones(shape[1])],
        )
        first = n_members
        for number, rule in enumerate(rules):
            matrix, low, high = _extended(rule, n_members, n_columns, first)
            first += len(rule.values) * len(rule.lower)
            for block, bound_low, bound_high in _switchable(matrix, low, high, number, len(rules)):
                blocks.append(block)
                lows.append(bound_low)
                highs.append(bound_high)
        return cls(
            rows=sparse.csr_array(sparse.vstack(blocks)),
            lower=np.concatenate(lows),
            upper=np.concatenate(highs),
            n_columns=n_columns,
            n_rules=len(rules),
        )

    def solve(self, prices: FloatArray, *, hard: BoolArray) -> FloatArray | None:
        """Return the cheapest solution that keeps all ``hard`` rules; None where there is none."""
        ones = np.ones(self.n_columns + self.n_rules)
        most = ones.copy()
        most[self.n_columns :][hard] = 0.0
        found = milp(
            prices,
            constraints=LinearConstraint(self.rows, self.lower, self.upper),
            integrality=ones,
            bounds=Bounds(np.zeros(len(ones)), most),
            options={"time_limit": _SECONDS},
        )
        if found.x is None and found.status != _INFEASIBLE:
            raise TimeoutError
        solution: FloatArray | None = found.x
        return solution

    def fewest_given_up(self, hard: BoolArray) -> BoolArray | None:
        """Return the smallest set of other rules to give up so that the rest can hold; None where ``hard`` can't."""
        prices = np.concatenate([np.zeros(self.n_columns), np.ones(self.n_rules)])
        solution = self.solve(prices, hard=hard)
        return None if solution is None else solution[self.n_columns :] > 0.5


def _extended(
    rule: Rule, n_members: int, n_columns: int, first: int
) -> tuple[sparse.csr_array, FloatArray, FloatArray]:
    """Add the choice among allowed numbers: row = sum of value * chosen, exactly one chosen."""
    n_rows, n_values = len(rule.lower), len(rule.values)
    after = n_columns - n_members
    plain = sparse.hstack([rule.weights, _empty(n_rows, after)])
    if not rule.values:
        return sparse.csr_array(plain), rule.lower, rule.upper
    choice = sparse.lil_array((2 * n_rows, n_columns))
    for row in range(n_rows):
        mine = slice(first + row * n_values, first + (row + 1) * n_values)
        choice[row, mine] = -np.array(rule.values, dtype=float)
        choice[n_rows + row, mine] = np.ones(n_values)
    whole = sparse.vstack([plain, _empty(n_rows, n_columns)]) + choice.tocsr()
    ends = np.concatenate([np.zeros(n_rows), np.ones(n_rows)])
    return sparse.csr_array(whole), ends, ends


def _switchable(
    matrix: sparse.csr_array, lower: FloatArray, upper: FloatArray, number: int, n_rules: int
) -> list[tuple[sparse.csr_array, FloatArray, FloatArray]]:
    """Return the rows of one rule with its switch: on, they hold for every split."""
    least = np.asarray(matrix.minimum(0).sum(axis=1)).ravel()
    most = np.asarray(matrix.maximum(0).sum(axis=1)).ravel()
    blocks = []
    for finite, slack, bounds in (
        (np.isfinite(lower), np.maximum(lower - least, 0.0), (lower, np.full(len(lower), np.inf))),
        (np.isfinite(upper), -np.maximum(most - upper, 0.0), (np.full(len(upper), -np.inf), upper)),
    ):
        if finite.any():
            switch = sparse.lil_array((int(finite.sum()), n_rules))
            switch[:, [number]] = slack[finite][:, None]
            block = sparse.csr_array(sparse.hstack([matrix[np.flatnonzero(finite)], switch.tocsr()]))
            blocks.append((block, bounds[0][finite], bounds[1][finite]))
    return blocks


def _smallest_hitting_set(corrections: list[BoolArray], n_rules: int) -> BoolArray:
    if not corrections:
        return np.zeros(n_rules, dtype=bool)
    # The tie-break is too small to outweigh one rule.
    prices = 1.0 + np.arange(n_rules)[::-1] / (4.0 * n_rules**2)
    rows = LinearConstraint(np.array(corrections, dtype=float), 1.0, np.inf)
    found = milp(prices, constraints=rows, integrality=np.ones(n_rules), bounds=Bounds(0, 1))
    chosen: BoolArray = found.x > 0.5
    return chosen


def _deletion_filter(rules: Sequence[Rule], n_cells: int, n_units: int, sizes: FloatArray) -> Conflict | None:
    """Leave out one rule after the other while the rest conflicts."""

    def conflicting(some: Sequence[Rule]) -> bool:
        try:
            return feasible_cells(some, n_cells, n_units) is None
        except TimeoutError:
            return False

    if not conflicting(rules):
        return None
    kept = list(rules)
    for rule in sorted(rules, key=lambda rule: (rule.market == "", _size_of(rule, sizes))):
        rest = [other for other in kept if other is not rule]
        kept = rest if conflicting(rest) else kept
    return Conflict(rules=tuple(kept), proved=False)


def _size_of(rule: Rule, sizes: FloatArray) -> float:
    return float(sizes[rule.weights.indices[0] % len(sizes)]) if rule.market else 0.0


def _picked(rules: Sequence[Rule], chosen: BoolArray) -> tuple[Rule, ...]:
    return tuple(rule for rule, mine in zip(rules, chosen, strict=True) if mine)


def _empty(n_rows: int, n_columns: int) -> sparse.csr_array:
    return sparse.csr_array((n_rows, n_columns))
