"""What is known about markets beyond their outcome: one row each, in a table beside the study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from causalbench.errors import DataError, listing, nearest
from causalbench.geo.side_table import all_columns
from causalbench.values import BoolArray, FloatArray, frozen_array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Markets:
    """Columns of text, one entry per market, in the order of the history's units.

    Attributes
    ----------
    units
        Names of the markets.
    columns
        Values of each column as they are written; each has as many entries as there are units.

    Examples
    --------
    >>> markets = Markets(units=("boston", "reno"), columns={"region": ("east", "west"), "km": ("3", "4.5")})
    >>> markets.column("region"), markets.numbers("km").tolist()
    (('east', 'west'), [3.0, 4.5])
    """

    units: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]]

    @classmethod
    def read(cls, path: Path, *, unit: str, units: tuple[str, ...]) -> Self:
        """Read a CSV or Parquet file as text; rows of markets that the history doesn't hold are passed over.

        Parameters
        ----------
        path
            The file.
        unit
            Its column with the market's name.
        units
            The history's markets; each needs exactly one row.

        Raises
        ------
        DataError
            When the file can't be read, has no such column, or a market has no row or several.
        """
        table = all_columns(path, folder=path.parent, key="[geo] markets")
        if unit not in table:
            found = f"markets: {path.name} has no column {unit!r}{nearest(unit, table)}"
            raise DataError(found, remedy="name the market's column as in the history's table")
        counts = Counter(table[unit])
        twice = sorted(name for name in units if counts[name] > 1)
        missing = [name for name in units if name not in counts]
        for wrong, what in ((missing, "no row"), (twice, "several rows")):
            if wrong:
                raise DataError(
                    f"markets: {path.name} has {what} for {len(wrong)} of {len(units)} markets: {listing(wrong)}",
                    remedy="give every market of the history one row",
                )
        place = {name: row for row, name in enumerate(table[unit])}
        rows = [place[name] for name in units]
        return cls(units=units, columns={name: tuple(texts[row] for row in rows) for name, texts in table.items()})

    def column(self, name: str) -> tuple[str, ...]:
        """Return a column as text; a name that doesn't exist raises :class:`DataError` with the nearest."""
        if name not in self.columns:
            raise DataError(
                f"markets has no column {name!r}{nearest(name, self.columns)}",
                remedy=f"use one of {', '.join(self.columns)}",
            )
        return self.columns[name]

    def numbers(self, name: str) -> FloatArray:
        """Return a column as numbers, shape (n_units,); text that is none raises :class:`DataError` with its market."""
        texts = self.column(name)
        numbers, wrong = np.empty(len(texts)), []
        for i, text in enumerate(texts):
            try:
                numbers[i] = float(text)
            except ValueError:
                numbers[i] = np.nan
            if not np.isfinite(numbers[i]):
                wrong.append(f"{self.units[i]} ({text!r})")
        if wrong:
            raise DataError(
                f"markets: column {name!r} holds no number for {len(wrong)} markets: {listing(wrong)}",
                remedy="write plain numbers such as 41.88",
            )
        array: FloatArray = frozen_array(numbers)
        return array

    def having(self, column: str, value: str) -> BoolArray:
        """Tell which markets have a value in a column, shape (n_units,); a value that nobody has is refused."""
        texts = self.column(column)
        if value not in texts:
            raise DataError(
                f"markets: no market has {column} {value!r}{nearest(value, set(texts))}",
                remedy=f"use one of {listing(sorted(set(texts)), limit=12)}",
            )
        return np.array([text == value for text in texts])
