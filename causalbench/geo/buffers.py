"""Buffers: which markets are so close that one can't be a control of the other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from causalbench.errors import DataError, listing, nearest
from causalbench.geo.geography import Geography
from causalbench.geo.side_table import text_columns
from causalbench.numerics.sphere import distances
from causalbench.study.geo_study import Buffer
from causalbench.values import BoolArray, FloatArray, IntArray

_LATITUDE, _LONGITUDE = "latitude", "longitude"
_FARTHEST = {_LATITUDE: 90.0, _LONGITUDE: 180.0}
_ROUNDING = 1e-6


class HasColumns(Protocol):
    """A table with one row per market, aligned with the history's units."""

    @property
    def columns(self) -> Mapping[str, tuple[str, ...]]:
        """Values of each column as they are written."""
        ...

    def numbers(self, name: str) -> FloatArray:
        """Return a column as numbers, shape (n_units,)."""
        ...


def near(
    buffer: Buffer, *, units: tuple[str, ...], markets: HasColumns | None, geography: Geography | None, folder: Path
) -> BoolArray:
    """Tell which markets are too close to each other.

    ``adjacency``: market j is reached from i over at most ``hops`` pairs of neighbours; in the table a pair counts for both,
    so that it stands there once, or always twice. ``distance``: at most ``km`` along a great circle. ``commuting``: a share of
    at least ``share`` of i's people commutes to j, or of j's to i; pairs without a row have the share 0, and rows from a
    market to itself don't matter.

    Parameters
    ----------
    buffer
        ``[geo.buffer]`` of the study.
    units
        Names of the markets.
    markets
        Their table, for ``latitude`` and ``longitude``.
    geography
        Their map, for neighbours without a table and distances without coordinates.
    folder
        Where the table lies.

    Returns
    -------
    BoolArray
        Shape (n_units, n_units), symmetric, false on the diagonal.

    Raises
    ------
    DataError
        When the table or the map can't be used: unknown markets, missing columns, pairs that contradict each other, shares
        outside of 0 to 1, coordinates that are none; with column, markets and count.

    Examples
    --------
    >>> states = ("Nevada", "Utah", "Colorado", "Kansas")
    >>> from causalbench.study.geo_study import Map
    >>> geography = Geography.read(Map(kind="us-states"), states, Path("."))
    >>> buffer = Buffer(kind="adjacency", hops=2)
    >>> near(buffer, units=states, markets=None, geography=geography, folder=Path("."))[0].tolist()
    [False, True, True, False]
    """
    if buffer.kind == "adjacency":
        close = _within_hops(_neighbours(buffer, units, geography, folder), buffer.hops)
    elif buffer.kind == "distance":
        close = distances(_coordinates(units, markets, geography)) <= (buffer.km or 0.0)
    else:
        close = _commuters(buffer, units, folder)
    close = close | close.T
    np.fill_diagonal(close, val=False)
    return close


def _neighbours(buffer: Buffer, units: tuple[str, ...], geography: Geography | None, folder: Path) -> BoolArray:
    if buffer.table is None:
        if geography is None:
            raise DataError(
                "[geo.buffer] adjacency has nothing to tell neighbours by",
                remedy="name a table of neighbours, or give [geo.map]",
            )
        geography.require_matched("[geo.buffer] adjacency")
        return geography.adjacent
    columns = text_columns(folder / buffer.table, ("a", "b"), folder=folder, key="[geo.buffer] table")
    first, second = (_places(columns[name], units, f"column {name!r} of {buffer.table}") for name in ("a", "b"))
    pairs = np.zeros((len(units), len(units)), dtype=bool)
    pairs[first, second] = True
    np.fill_diagonal(pairs, val=False)
    once = pairs & ~pairs.T
    if once.any() and (pairs & pairs.T).any():
        found = listing(f"{units[i]} - {units[j]}" for i, j in np.argwhere(once))
        raise DataError(
            f"[geo.buffer] table: {buffer.table} has {int(once.sum())} pairs in one direction only and others in both: {found}",
            remedy="write every pair once, or every pair in both directions",
        )
    neighbours: BoolArray = pairs | pairs.T
    return neighbours


def _within_hops(neighbours: BoolArray, hops: int) -> BoolArray:
    reached = neighbours.copy()
    for _ in range(min(hops, len(neighbours)) - 1):
        wider = reached | ((reached.astype(np.float32) @ neighbours.astype(np.float32)) > 0)
        if (wider == reached).all():
            break
        reached = wider
    return reached


def _coordinates(units: tuple[str, ...], markets: HasColumns | None, geography: Geography | None) -> FloatArray:
    """Return longitude and latitude, from the table where it has them, else from the map."""
    listed = set() if markets is None else set(markets.columns)
    given = {_LATITUDE, _LONGITUDE} & listed
    if markets is None or (not given and geography is not None):
        if geography is None:
            raise DataError(
                "[geo.buffer] distance has no coordinates",
                remedy="give markets with latitude and longitude, or [geo.map]",
            )
        geography.require_matched("[geo.buffer] distance")
        return geography.centroids
    points = np.column_stack([markets.numbers(_LONGITUDE), markets.numbers(_LATITUDE)])
    for name, values in zip((_LONGITUDE, _LATITUDE), points.T, strict=True):
        wrong = ~(np.abs(values) <= _FARTHEST[name])
        if wrong.any():
            found = listing(f"{units[i]} ({values[i]:g})" for i in np.flatnonzero(wrong))
            raise DataError(
                f"markets: column {name!r} isn't in degrees for {int(wrong.sum())} markets: {found}",
                remedy=f"give degrees between -{_FARTHEST[name]:g} and {_FARTHEST[name]:g}",
            )
    return points


def _commuters(buffer: Buffer, units: tuple[str, ...], folder: Path) -> BoolArray:
    name = str(buffer.table)
    columns = text_columns(folder / name, ("from", "to", "share"), folder=folder, key="[geo.buffer] table")
    rows, targets = (_places(columns[side], units, f"column {side!r} of {name}") for side in ("from", "to"))
    shares = np.array([_share(text) for text in columns["share"]])
    outside = ~((shares >= 0) & (shares <= 1))
    if outside.any():
        found = listing(
            f"{units[rows[i]]} to {units[targets[i]]} ({columns['share'][i]})" for i in np.flatnonzero(outside)
        )
        raise DataError(
            f"[geo.buffer] table: column 'share' of {name} isn't between 0 and 1 in {int(outside.sum())} rows: {found}",
            remedy="give shares of a market's people, such as .12 for 12%",
        )
    counts: dict[tuple[int, int], int] = defaultdict(int)
    matrix = np.zeros((len(units), len(units)))
    for i, j, share in zip(rows.tolist(), targets.tolist(), shares.tolist(), strict=True):
        counts[i, j] += 1
        matrix[i, j] = share
    twice = [f"{units[i]} to {units[j]}" for (i, j), count in counts.items() if count > 1]
    if twice:
        raise DataError(
            f"[geo.buffer] table: {name} has {len(twice)} pairs with several rows: {listing(twice)}",
            remedy="give every pair one share",
        )
    full = np.flatnonzero(matrix.sum(axis=1) > 1 + _ROUNDING)
    if len(full):
        found = listing(f"{units[i]} ({matrix[i].sum():g})" for i in full)
        raise DataError(
            f"[geo.buffer] table: the shares of {len(full)} markets in {name} sum to more than 1: {found}",
            remedy="a share is the part of the market's own people; check that from and to aren't exchanged",
        )
    close: BoolArray = matrix >= (buffer.share or 1.0)
    return close


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _places(names: tuple[str, ...], units: tuple[str, ...], where: str) -> IntArray:
    """Return each name's market; a typing error would silently make a buffer smaller, so unknown names are refused."""
    position = {unit: i for i, unit in enumerate(units)}
    unknown = sorted({name for name in names if name not in position})
    if unknown:
        found = listing(f"{name!r}{nearest(name, units)}" for name in unknown)
        raise DataError(
            f"[geo.buffer] table: {len(unknown)} names in {where} are no markets: {found}",
            remedy="mend them, or remove the rows of places without a market",
        )
    return np.array([position[name] for name in names], dtype=np.int64)
