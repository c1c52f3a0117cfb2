"""Geography: where markets lie, which of them are neighbours, and how their outlines are drawn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from causalbench.artifacts import shipped
from causalbench.errors import DataError, listing, nearest
from causalbench.geo.side_table import text_columns
from causalbench.geo.topology import Topology
from causalbench.numerics.sphere import centroid
from causalbench.study.geo_study import Map
from causalbench.values import BoolArray, FloatArray, IntArray, frozen_array

_SHIPPED = {
    "us-states": ("us-states-10m.json", "states"),
    "us-counties": ("us-counties-10m.json", "counties"),
    "world-countries": ("world-countries-110m.json", "countries"),
}
_FIPS_DIGITS = 5

# Postal abbreviations and FIPS codes of states and territories (Census Bureau, ANSI codes for states).
_STATE_CODES = (
    "AL:01 AK:02 AZ:04 AR:05 CA:06 CO:08 CT:09 DE:10 DC:11 FL:12 GA:13 HI:15 ID:16 IL:17 IN:18 IA:19 KS:20 KY:21 LA:22 "
    "ME:23 MD:24 MA:25 MI:26 MN:27 MS:28 MO:29 MT:30 NE:31 NV:32 NH:33 NJ:34 NM:35 NY:36 NC:37 ND:38 OH:39 OK:40 OR:41 "
    "PA:42 RI:44 SC:45 SD:46 TN:47 TX:48 UT:49 VT:50 VA:51 WA:53 WV:54 WI:55 WY:56 AS:60 GU:66 MP:69 PR:72 VI:78"
)
_POSTAL = {code: name for name, code in (pair.split(":") for pair in _STATE_CODES.split())}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Geography:
    """Where the markets lie.

    Attributes
    ----------
    units
        Names of the markets.
    outlines
        Closed rings of each market that the map knows, each of shape (k, 2): longitude and latitude in degrees. A point
        belongs to the market when an odd number of rings surrounds it.
    adjacent
        Which markets share a piece of border, shape (n_units, n_units). Meeting in a point isn't enough.
    centroids
        Longitude and latitude of each market's centre of area on the sphere, shape (n_units, 2); NaN where unknown.
    unmatched, hints
        Markets that the map doesn't hold, and for some of them what may be meant.
    background
        Rings of what lies around: the other regions of the map, or the states that hold the counties.
    kind
        Which map it is.

    Notes
    -----
    Don't use the adjacency of a map for markets that exchange people over water, or over a third market: a table of neighbours
    or of commuters says more.

    Examples
    --------
    >>> states = Geography.read(Map(kind="us-states"), ("Utah", "NV", "06", "Springfield"), Path("."))
    >>> states.adjacent[0].tolist(), states.unmatched
    ([False, True, False, False], ('Springfield',))
    >>> states.centroids[0].round(1).tolist()
    [-111.7, 39.3]
    """

    units: tuple[str, ...]
    outlines: Mapping[str, tuple[FloatArray, ...]]
    adjacent: BoolArray
    centroids: FloatArray
    unmatched: tuple[str, ...] = ()
    background: tuple[FloatArray, ...] = ()
    kind: str = "us-states"
    hints: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.units)
        object.__setattr__(self, "adjacent", frozen_array(self.adjacent, dtype=bool, shape=(n, n), name="adjacent"))
        object.__setattr__(self, "centroids", frozen_array(self.centroids, shape=(n, 2), name="centroids"))

    @classmethod
    def read(cls, map: Map, units: tuple[str, ...], folder: Path) -> Geography:  # noqa: A002 - the key of the study
        """Read the map of a study.

        Markets are found by name or by id (FIPS, or the number of a country), whatever their case; states also by postal
        abbreviation, counties by ``county, state``. Where ``map.counties`` names a table, markets are unions of counties.

        Parameters
        ----------
        map
            Kind, and the files beside the study; without ``file`` the shipped map.
        units
            Names of the markets.
        folder
            The study's folder.

        Raises
        ------
        DataError
            When a file can't be used, or a county is unknown or in two markets.
        """
        path = _map_path(map, folder)
        if map.counties is not None:
            if map.kind != "us-counties":
                raise DataError(
                    f"[geo.map] counties joins counties to markets, and kind is {map.kind!r}",
                    remedy='set kind = "us-counties"',
                )
            return _from_counties(folder / map.counties, path, units, folder=folder)
        topology = Topology.read(path, _SHIPPED[map.kind][1])
        known = _names_of(topology, map.kind)
        groups, unmatched = np.full(len(topology.names), -1), []
        hints = {}
        for place, unit in enumerate(units):
            regions = known.get(_folded(unit), set())
            if len(regions) == 1 and groups[min(regions)] < 0:
                groups[min(regions)] = place
                continue
            unmatched.append(unit)
            hints[unit] = _hint(unit, regions, topology, map.kind)
        return _assemble(units, topology, groups, kind=map.kind, path=path, unmatched=tuple(unmatched), hints=hints)

    def require_matched(self, purpose: str) -> None:
        """Refuse a geography that doesn't know every market.

        Raises
        ------
        DataError
            With the markets that the map doesn't hold, and the nearest name of each.
        """
        if self.unmatched:
            found = listing(f"{name!r}{self.hints.get(name, '')}" for name in self.unmatched)
            raise DataError(
                f"{purpose} needs every market on the map, and {len(self.unmatched)} of {len(self.units)} aren't: {found}",
                remedy="rename them, join counties to markets with [geo.map] counties, or give a table",
            )


def from_county_map(path: Path, units: tuple[str, ...] | None = None) -> Geography:
    """Return the geography of a user's own regions, each a union of US counties.

    Parameters
    ----------
    path
        CSV or Parquet file with one row per county: ``county``, its FIPS code (leading zeros that a spreadsheet took away are
        put back), and ``market``, the region that it belongs to. Counties without a row belong to none.
    units
        Names of the markets, whatever their case; by default those of the file, sorted.

    Returns
    -------
    Geography
        Outlines without the borders inside of a region; regions are neighbours when two of their counties are.

    Raises
    ------
    DataError
        When the file can't be read, a county doesn't exist, or stands in two markets.
    """
    return _from_counties(path, shipped("data", "maps", _SHIPPED["us-counties"][0]), units, folder=path.parent)


def _map_path(map: Map, folder: Path) -> Path:  # noqa: A002
    if map.file is None:
        return shipped("data", "maps", _SHIPPED[map.kind][0])
    path = folder / map.file
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{map.file} lies outside the study's folder", remedy="put the map beside the study file")
    return path


def _from_counties(path: Path, map_path: Path, units: tuple[str, ...] | None, *, folder: Path) -> Geography:
    topology = Topology.read(map_path, "counties")
    columns = text_columns(path, ("county", "market"), folder=folder, key="[geo.map] counties")
    codes, markets = tuple(map(_county_code, columns["county"])), columns["market"]
    position = {code: i for i, code in enumerate(topology.ids)}
    unknown = sorted({found for found, code in zip(columns["county"], codes, strict=True) if code not in position})
    if unknown:
        raise DataError(
            f"[geo.map] counties: {len(unknown)} codes in {path.name} are no counties of the map: {listing(unknown)}",
            remedy="write FIPS codes of five digits, in the borders of 2017",
        )
    places: dict[str, set[str]] = defaultdict(set)
    for code, market in zip(codes, markets, strict=True):
        places[code].add(_folded(market))
    twice = [f"{code} ({' and '.join(sorted(found))})" for code, found in sorted(places.items()) if len(found) > 1]
    if twice:
        raise DataError(
            f"[geo.map] counties: {len(twice)} counties are in several markets: {listing(twice)}",
            remedy="give every county one market",
        )
    if units is None:
        units = tuple(sorted({market: _folded(market) for market in markets}))
    row = {_folded(unit): i for i, unit in enumerate(units)}
    groups = np.full(len(topology.names), -1)
    for code, found in places.items():
        groups[position[code]] = row.get(min(found), -1)
    unmatched = tuple(unit for i, unit in enumerate(units) if i not in set(groups.tolist()))
    hints = {unit: nearest(unit, set(markets)) for unit in unmatched}
    return _assemble(units, topology, groups, kind="us-counties", path=map_path, unmatched=unmatched, hints=hints)


def _county_code(text: str) -> str:
    """Return five digits from what a spreadsheet has left of them, such as ``1001`` or ``1001.0``."""
    whole = text.removesuffix(".0")
    return whole.zfill(_FIPS_DIGITS) if whole.isdigit() else whole


def _assemble(
    units: tuple[str, ...],
    topology: Topology,
    groups: IntArray,
    *,
    kind: str,
    path: Path,
    unmatched: tuple[str, ...],
    hints: Mapping[str, str],
) -> Geography:
    outlines = {unit: topology.union(groups == i) for i, unit in enumerate(units) if (groups == i).any()}
    centres = np.full((len(units), 2), np.nan)
    for i, unit in enumerate(units):
        if unit in outlines:
            centres[i] = centroid(outlines[unit])
    layer, rest = topology, np.flatnonzero(groups < 0)
    if kind == "us-counties":
        layer = Topology.read(path, "states")
        rest = np.arange(len(layer.names))
    around = [ring for i in rest for ring in layer.union(np.arange(len(layer.names)) == i)]
    return Geography(
        units=units,
        outlines=outlines,
        adjacent=topology.adjacent(groups, len(units)),
        centroids=centres,
        unmatched=unmatched,
        background=tuple(around),
        kind=kind,
        hints=dict(hints),
    )


def _names_of(topology: Topology, kind: str) -> dict[str, set[int]]:
    """Return which regions go by a name, case-folded; a name may be that of several."""
    known: dict[str, set[int]] = defaultdict(set)
    for i, (name, code) in enumerate(zip(topology.names, topology.ids, strict=True)):
        spellings = [name, code, code.lstrip("0")]
        if kind == "us-states" and code in _POSTAL:
            spellings.append(_POSTAL[code])
        if kind == "us-counties" and code[:2] in _POSTAL:
            spellings += [f"{name}, {_POSTAL[code[:2]]}", f"{name} county, {_POSTAL[code[:2]]}"]
        for spelling in spellings:
            if spelling:
                known[_folded(spelling)].add(i)
    return known


def _hint(unit: str, regions: set[int], topology: Topology, kind: str) -> str:
    if len(regions) > 1:
        return f" ({len(regions)} regions have this name; their ids are {listing(sorted(topology.ids[i] for i in regions))})"
    if regions:
        return " (a market before it has this region)"
    return nearest(unit, _spoken(topology, kind))


def _spoken(topology: Topology, kind: str) -> Sequence[str]:
    if kind != "us-counties":
        return topology.names
    pairs = zip(topology.names, topology.ids, strict=True)
    return [f"{name}, {_POSTAL.get(code[:2], code[:2])}" for name, code in pairs]


def _folded(name: str) -> str:
    return " ".join(name.casefold().split())
