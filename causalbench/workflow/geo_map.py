"""The map of a design as plain numbers: outlines where the study gives a map, points where it only knows places."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from causalbench.errors import DataError
from causalbench.geo.geography import Geography
from causalbench.geo.ledger import LEFT_OUT_NAME
from causalbench.geo.markets import Markets
from causalbench.geo.split import CONTROL, LEFT_OUT, Split
from causalbench.study.geo_study import CONTROL as CONTROL_NAME
from causalbench.values import FloatArray

_STEPS = 700
"""Outlines are drawn on a grid with so many steps across: shared borders are simplified alike on both sides."""


def map_of(
    geography: Geography | None, markets: Markets | None, split: Split, cells: Sequence[str], units: Sequence[str]
) -> dict[str, Any] | None:
    """Return who is where: ``kind``, ``background`` rings and, by market, its cell and its ``rings`` or ``point``.

    Longitude and latitude in degrees. None where nothing is known.
    """
    names = {LEFT_OUT: LEFT_OUT_NAME, CONTROL: CONTROL_NAME, **dict(enumerate(cells, start=1))}
    mine = {unit: names[cell] for unit, cell in zip(units, split.cells.tolist(), strict=True)}
    if geography is not None:
        step = _step(ring for rings in geography.outlines.values() for ring in rings)
        shown = [
            {"market": unit, "cell": mine[unit], "rings": simplified(geography.outlines[unit], step)}
            for unit in units
            if unit in geography.outlines
        ]
        unknown = [unit for unit in units if unit not in geography.outlines]
        background = simplified(geography.background, step)
        return {"kind": geography.kind, "markets": shown, "background": background, "unknown": unknown}
    places = _places(markets)
    if places is None:
        return None
    points = [{"market": unit, "cell": mine[unit], "point": point} for unit, point in zip(units, places, strict=True)]
    return {"kind": "points", "markets": points, "background": [], "unknown": []}


def _places(markets: Markets | None) -> list[list[float]] | None:
    """Return longitude and latitude of every market where the table of markets has both."""
    if markets is None or not {"latitude", "longitude"} <= set(markets.columns):
        return None
    try:
        both = np.column_stack([markets.numbers("longitude"), markets.numbers("latitude")])
    except DataError:
        return None  # a map is an extra; rules that need places refuse a table with gaps themselves
    found: list[list[float]] = both.round(4).tolist()
    return found


def _step(rings: Iterable[FloatArray]) -> float:
    whole = [ring for ring in rings if len(ring)]
    if not whole:
        return 0.1
    points = np.vstack(whole)
    spread = float(np.ptp(np.quantile(points, [0.02, 0.98], axis=0), axis=0).max())
    return max(spread / _STEPS, 1e-3)


def simplified(rings: Iterable[FloatArray], step: float) -> list[list[list[float]]]:
    """Snap rings to a grid and drop points that repeat, and rings smaller than its meshes.

    Examples
    --------
    >>> simplified([np.array([[0.0, 0.0], [0.04, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])], 0.1)
    [[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]]
    """
    found = []
    for ring in rings:
        snapped = np.round(ring / step) * step
        moved = np.ones(len(snapped), dtype=bool)
        moved[1:] = (np.diff(snapped, axis=0) != 0).any(axis=1)
        if moved.sum() > 3:
            found.append(snapped[moved].round(3).tolist())
    return found
