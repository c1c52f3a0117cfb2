r"""Switchback schedules: every market is switched on and off over blocks of periods, by lot.

Markets go in pairs that mirror each other: where one is on, the other is off. So every block has half of the markets on,
and every market is on for half of its blocks (give or take one where there is an odd one out). Each pair's first market
draws one of the balanced rows, all equally likely: the admissible schedules, their number and uniform draws are exact, and
the readout's test draws from the same set.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.random import Generator

from causalbench.artifacts import digest
from causalbench.data.panel import Panel
from causalbench.errors import DataError, RefusalError, listing
from causalbench.numerics.schedules import balanced_rows, draw_balanced, n_schedules
from causalbench.values import BoolArray, FloatArray, IntArray, frozen_array

COLUMNS = ("unit", "pair", "block", "first", "last", "read_from", "on")
"""Columns of schedule.csv."""

ENUMERATED = 20_000
"""Up to this many admissible schedules all of them are compared."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SwitchbackDesign:
    """Which schedules are admissible.

    Attributes
    ----------
    pairs
        Number of the pair of each market, shape (n_units,); the one of an odd number of markets is a pair of its own.
    block, n_blocks
        Periods in a block, and number of blocks.
    washout
        Periods at the start of every block that aren't read, whatever was on before.

    Examples
    --------
    >>> import numpy as np
    >>> design = SwitchbackDesign(pairs=np.array([0, 0, 1, 1]), block=3, n_blocks=4, washout=1)
    >>> design.n_admissible, design.draws(5, rng=np.random.default_rng(0)).shape
    (36.0, (5, 4, 4))
    """

    pairs: IntArray
    block: int
    n_blocks: int
    washout: int = 0
    leaders: IntArray = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pairs", frozen_array(self.pairs, dtype=np.int64))
        names, first, sizes = np.unique(self.pairs, return_index=True, return_counts=True)
        if (sizes > 2).any():
            raise DataError(f"pairs hold at most two markets, found {listing(names[sizes > 2])} with more")
        object.__setattr__(self, "leaders", frozen_array(first, dtype=np.int64))
        if self.n_blocks < 2:
            raise RefusalError(
                f"{self.n_blocks} blocks of {self.block} periods: nothing is switched",
                remedy="plan more periods or shorter blocks",
            )
        if not 0 <= self.washout < self.block:
            raise RefusalError(
                f"a washout of {self.washout} periods leaves nothing of blocks of {self.block}",
                remedy="plan longer blocks or a shorter washout",
            )

    @property
    def n_units(self) -> int:
        """Number of markets."""
        return len(self.pairs)

    @property
    def n_periods(self) -> int:
        """Periods of the test that belong to a block."""
        return self.n_blocks * self.block

    @property
    def by_period(self) -> bool:
        """Whether period effects are taken out, which needs markets that are off while others are on."""
        return self.n_units > 1

    @property
    def n_admissible(self) -> float:
        """Number of admissible schedules; infinite above 1e15."""
        return n_schedules(len(self.leaders), self.n_blocks)

    def draws(self, n_draws: int, *, rng: Generator) -> BoolArray:
        """Draw schedules independently and uniformly, shape (n_draws, n_units, n_blocks)."""
        rows = draw_balanced(n_draws * len(self.leaders), self.n_blocks, rng)
        return self._mirrored(rows.reshape(n_draws, len(self.leaders), self.n_blocks))

    def everything(self) -> BoolArray:
        """Return all admissible schedules, shape (n_admissible, n_units, n_blocks)."""
        rows = balanced_rows(self.n_blocks)
        chosen = np.array(list(itertools.product(range(len(rows)), repeat=len(self.leaders))), dtype=np.int64)
        return self._mirrored(rows[chosen])

    def pool(self, actual: BoolArray | None, *, n_draws: int, rng: Generator) -> BoolArray:
        """Return the schedules to compare: all where they are few, else draws; the actual one comes first, once if counted."""
        if self.n_admissible > ENUMERATED:
            drawn = self.draws(n_draws, rng=rng)
            return drawn if actual is None else np.concatenate([actual[None], drawn])
        rows = self.everything()
        if actual is None:
            return rows
        return np.concatenate([actual[None], rows[(rows != actual).any(axis=(1, 2))]])

    def admits(self, schedule: BoolArray) -> bool:
        """Tell whether a schedule, shape (n_units, n_blocks), is one of the design's."""
        mirrored = np.array_equal(self._mirrored(schedule[self.leaders][None])[0], schedule)
        on = schedule[self.leaders].sum(axis=1)
        return mirrored and bool(((on == self.n_blocks // 2) | (on == (self.n_blocks + 1) // 2)).all())

    def block_means(self, outcome: FloatArray) -> FloatArray:
        """Average the periods of each block after its washout, shape (..., n_blocks)."""
        parts = outcome[..., : self.n_periods].reshape(*outcome.shape[:-1], self.n_blocks, self.block)
        means: FloatArray = parts[..., self.washout :].mean(axis=-1)
        return means

    def rows(self, schedule: BoolArray, units: Iterable[str]) -> list[dict[str, Any]]:
        """Return a schedule as a table, one row per market and block.

        Periods are counted from 1 at the start of the test; those before ``read_from`` are the washout.
        """
        return [
            {
                "unit": unit,
                "pair": int(self.pairs[i]),
                "block": b + 1,
                "first": b * self.block + 1,
                "last": (b + 1) * self.block,
                "read_from": b * self.block + self.washout + 1,
                "on": int(schedule[i, b]),
            }
            for i, unit in enumerate(units)
            for b in range(self.n_blocks)
        ]

    def _mirrored(self, rows: BoolArray) -> BoolArray:
        schedules = np.empty((len(rows), self.n_units, self.n_blocks), dtype=bool)
        for j, leader in enumerate(self.leaders.tolist()):
            schedules[:, self.pairs == self.pairs[leader]] = ~rows[:, [j]]
            schedules[:, leader] = rows[:, j]
        return schedules


def schedule_digest(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the SHA-256 of a schedule's rows, by which a readout recognises it."""
    return digest(sorted((str(row["unit"]), *(int(row[key]) for key in COLUMNS[1:])) for row in rows))


def schedule_of(rows: Iterable[Mapping[str, Any]], units: tuple[str, ...]) -> tuple[SwitchbackDesign, BoolArray]:
    """Read a schedule's rows back; returns the design and the schedule, shape (n_units, n_blocks), markets as in ``units``.

    Raises
    ------
    DataError
        If markets differ, rows are missing or doubled, blocks are uneven, or the schedule is none that the design admits.
    """
    table = _whole_numbers(rows)
    names = {str(row["unit"]) for row in table}
    if strange := sorted(names ^ set(units)):
        raise DataError(
            f"the schedule and the data differ in {len(strange)} markets: {listing(strange)}",
            remedy="give the schedule that was made for these markets",
        )
    n_blocks = max(row["block"] for row in table)
    if len(table) != len(units) * n_blocks or len({(row["unit"], row["block"]) for row in table}) < len(table):
        raise DataError(f"the schedule has {len(table)} rows, {len(units)} markets in {n_blocks} blocks need one each")
    block, washout = table[0]["last"] - table[0]["first"] + 1, table[0]["read_from"] - table[0]["first"]
    expected = {row["block"]: (row["block"] - 1) * block + 1 for row in table}
    if any(
        (row["first"], row["last"], row["read_from"])
        != (expected[row["block"]], expected[row["block"]] + block - 1, expected[row["block"]] + washout)
        for row in table
    ):
        raise DataError(
            "the schedule's blocks don't follow each other in equal lengths", remedy="don't edit schedule.csv"
        )
    if any(row["on"] not in (0, 1) for row in table):
        raise DataError("column 'on' of the schedule must hold 0 and 1")
    place = {unit: i for i, unit in enumerate(units)}
    schedule, pairs = np.zeros((len(units), n_blocks), dtype=bool), np.zeros(len(units), dtype=np.int64)
    for row in table:
        schedule[place[str(row["unit"])], row["block"] - 1] = row["on"] == 1
        pairs[place[str(row["unit"])]] = row["pair"]
    design = SwitchbackDesign(pairs=pairs, block=block, n_blocks=n_blocks, washout=washout)
    if not design.admits(schedule):
        raise DataError(
            "the schedule isn't one that the design could have drawn: pairs don't mirror each other, or a market isn't on for "
            "half of its blocks",
            remedy="give the schedule as it was drawn; what was delivered instead belongs into the table",
        )
    return design, schedule


def _whole_numbers(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    try:
        table = [{"unit": str(row["unit"]), **{key: int(row[key]) for key in COLUMNS[1:]}} for row in rows]
    except KeyError as error:
        raise DataError(
            f"the schedule has no column {error}",
            remedy=f"its columns are {', '.join(COLUMNS)}, as geo design writes them",
        ) from None
    except (TypeError, ValueError) as error:
        raise DataError(f"the schedule holds something that is no whole number: {error}") from None
    if not table:
        raise DataError("the schedule has no rows", remedy="give schedule.csv as geo design writes it")
    return table


def paired(history: Panel) -> IntArray:
    """Pair markets whose outcomes moved most alike, closest pairs first; returns each one's pair, shape (n_units,).

    Distances are between shares of each market's own mean (outcomes themselves where a mean isn't positive), after what all
    share in a period: a pair's difference then has little noise.
    """
    return pairs_of(relative_outcome(history.outcome, history))


def pairs_of(outcome: FloatArray) -> IntArray:
    """Pair the rows of an array as :func:`paired` does."""
    values = outcome - outcome.mean(axis=0)
    values = values - values.mean(axis=1, keepdims=True)
    squares = (values**2).sum(axis=1)
    distance = squares[:, None] + squares - 2 * values @ values.T
    first, second = np.triu_indices(len(values), k=1)
    pairs, n_pairs = np.full(len(values), -1, dtype=np.int64), 0
    for k in np.argsort(distance[first, second], kind="stable").tolist():
        i, j = int(first[k]), int(second[k])
        if pairs[i] < 0 and pairs[j] < 0:
            pairs[i] = pairs[j] = n_pairs
            n_pairs += 1
    pairs[pairs < 0] = n_pairs
    return pairs


def is_relative(history: Panel) -> bool:
    """Tell whether effects are shares of each market's level: outcomes add up and every market has a positive mean."""
    return bool(history.additive and (np.nanmean(history.outcome, axis=1) > 0).all())


def relative_outcome(outcome: FloatArray, history: Panel) -> FloatArray:
    """Divide outcomes by each market's mean over a history, where effects are relative."""
    return outcome / np.nanmean(history.outcome, axis=1)[:, None] if is_relative(history) else outcome


def require_complete(panel: Panel) -> None:
    """Refuse missing outcomes.

    Raises
    ------
    DataError
        With their number.
    """
    missing = int(np.isnan(panel.outcome).sum())
    if missing:
        raise DataError(
            f"{missing} cells have no outcome, a switchback needs all",
            remedy="say what to do with them: on_missing under [data]",
        )


def smallest_p(design: SwitchbackDesign) -> float:
    """Return the smallest p-value that a two-sided test over all admissible schedules can give."""
    return 0.0 if math.isinf(design.n_admissible) else 2 / design.n_admissible
