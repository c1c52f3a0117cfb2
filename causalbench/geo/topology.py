"""TopoJSON: regions as rings of shared arcs, so that neighbours and unions are exact, without computing with coordinates."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from causalbench.errors import DataError, listing, nearest
from causalbench.values import BoolArray, FloatArray, IntArray

Ring = tuple[int, ...]
"""Arcs in order; ``~i`` is arc ``i`` backwards."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Topology:
    """Regions of one layer of a TopoJSON file.

    Attributes
    ----------
    arcs
        Points of each arc, shape (k, 2), longitude and latitude in degrees.
    names, ids
        Of each region; empty where the file has none.
    rings
        Of each region: outer rings and holes.

    Examples
    --------
    Two squares side by side share arc 0:

    >>> import numpy as np
    >>> arcs = tuple(np.array(points, dtype=float) for points in (
    ...     [(1, 0), (1, 1)], [(1, 1), (0, 1), (0, 0), (1, 0)], [(1, 0), (2, 0), (2, 1), (1, 1)]))
    >>> squares = Topology(arcs=arcs, names=("left", "right"), ids=("1", "2"), rings=(((0, 1),), ((2, ~0),)))
    >>> squares.adjacent(np.array([0, 1]), 2).tolist()
    [[False, True], [True, False]]
    >>> [len(ring) for ring in squares.union(np.array([True, True]))]
    [7]
    """

    arcs: tuple[FloatArray, ...]
    names: tuple[str, ...]
    ids: tuple[str, ...]
    rings: tuple[tuple[Ring, ...], ...]

    @classmethod
    def read(cls, path: Path, layer: str) -> Topology:
        """Read one layer of a file, such as ``states``.

        Raises
        ------
        DataError
            When the file is missing, isn't TopoJSON, or has no such layer.
        """
        content = _content(path)
        layers = content["objects"]
        if layer not in layers:
            raise DataError(
                f"{path.name} has no layer {layer!r}{nearest(layer, layers)}; it has {listing(sorted(layers))}",
                remedy="name the file that [geo.map] kind stands for",
            )
        try:
            n_arcs = len(content["arcs"])
            regions = [region for region in layers[layer]["geometries"] if region.get("type") in _DEPTH]
            return cls(
                arcs=_decoded(content["arcs"], content.get("transform")),
                names=tuple(str(region.get("properties", {}).get("name", "")) for region in regions),
                ids=tuple(str(region.get("id", "")) for region in regions),
                rings=tuple(tuple(_rings(region, n_arcs)) for region in regions),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise DataError(
                f"{path.name} isn't whole TopoJSON: {type(error).__name__} {error}", remedy="export the map again"
            ) from None

    def adjacent(self, groups: IntArray, n_groups: int) -> BoolArray:
        """Tell which groups of regions share a piece of border.

        Parameters
        ----------
        groups
            Group of each region, -1 for none, shape (n_regions,).
        n_groups
            Number of groups.

        Returns
        -------
        BoolArray
            Shape (n_groups, n_groups), symmetric, false on the diagonal. Regions that only meet in a point share no arc.
        """
        users: dict[int, set[int]] = defaultdict(set)
        for group, rings in zip(groups.tolist(), self.rings, strict=True):
            if group >= 0:
                for arc in (arc for ring in rings for arc in ring):
                    users[max(arc, ~arc)].add(group)
        near = np.zeros((n_groups, n_groups), dtype=bool)
        for sharing in users.values():
            if len(sharing) > 1:
                members = sorted(sharing)
                near[np.ix_(members, members)] = True
        np.fill_diagonal(near, val=False)
        return near

    def union(self, chosen: BoolArray) -> tuple[FloatArray, ...]:
        """Return the outline of some regions taken together: arcs that two of them share are inside and drop out.

        Returns
        -------
        tuple of FloatArray
            Closed rings, each of shape (k, 2). The region is what an odd number of them surrounds.
        """
        mine = [ring for i in np.flatnonzero(chosen) for ring in self.rings[i]]
        used = {arc for ring in mine for arc in ring}
        touched = [any(~arc in used for arc in ring) for ring in mine]
        passes = Counter(arc for ring, broken in zip(mine, touched, strict=True) if broken for arc in ring)
        # Simplified borders double back on themselves: only what remains of passes there and back is outline.
        left = [arc for arc, n in passes.items() for _ in range(n - passes.get(~arc, 0))]
        whole = [ring for ring, broken in zip(mine, touched, strict=True) if not broken]
        rings = [self._points(ring) for ring in (*whole, *self._stitched(left))]
        return tuple(ring for ring in rings if len(ring) >= _FEWEST_POINTS) or tuple(rings)

    def _stitched(self, arcs: Sequence[int]) -> list[Ring]:
        """Join directed arcs end to start until every ring closes."""
        starting: dict[tuple[float, ...], list[int]] = defaultdict(list)
        for arc in arcs:
            starting[tuple(self._arc(arc)[0])].append(arc)
        rings = []
        for first in arcs:
            here = tuple(self._arc(first)[0])
            if first not in starting[here]:
                continue
            ring, arc = [], first
            while True:
                starting[tuple(self._arc(arc)[0])].remove(arc)
                ring.append(arc)
                end = tuple(self._arc(arc)[-1])
                if end == here or not starting[end]:
                    break
                arc = starting[end][0]
            rings.append(tuple(ring))
        return rings

    def _arc(self, arc: int) -> FloatArray:
        return self.arcs[arc] if arc >= 0 else self.arcs[~arc][::-1]

    def _points(self, ring: Ring) -> FloatArray:
        """Return the points of a ring; where one arc ends the next begins, so the shared point stands once."""
        pieces = [self._arc(arc) for arc in ring]
        return np.concatenate([pieces[0][:1], *(piece[1:] for piece in pieces)])


_FEWEST_POINTS = 4
"""A closed ring of fewer points has no area."""

_DEPTH = {"Polygon": 0, "MultiPolygon": 1}


def _rings(region: Mapping[str, Any], n_arcs: int) -> list[Ring]:
    polygons = [region["arcs"]] if _DEPTH[region["type"]] == 0 else region["arcs"]
    rings = [tuple(int(arc) for arc in ring) for polygon in polygons for ring in polygon]
    if any(not -n_arcs <= arc < n_arcs for ring in rings for arc in ring) or not all(rings):
        raise ValueError(f"a ring of {region.get('id', 'a region')} has arcs that don't exist")
    return rings


def _content(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise DataError(f"the map {path.name} can't be read: {error.strerror}", remedy="mend [geo.map] file") from None
    except ValueError as error:
        raise DataError(f"{path.name} isn't TopoJSON: {error}", remedy="export the map again") from None
    whole = isinstance(content, dict) and content.get("type") == "Topology"
    if not whole or not isinstance(content.get("objects"), dict) or not isinstance(content.get("arcs"), list):
        raise DataError(
            f"{path.name} isn't TopoJSON: it has no objects and arcs",
            remedy="convert the map to TopoJSON, which keeps shared borders; GeoJSON doesn't",
        )
    return content


def _decoded(arcs: Sequence[Any], transform: Mapping[str, Any] | None) -> tuple[FloatArray, ...]:
    """Undo quantization: whole steps from point to point, then scale and shift (TopoJSON 1.0, sections 2.1.2 and 2.1.3)."""
    if transform is None:
        return tuple(_frozen(np.asarray(arc, dtype=float)[:, :2]) for arc in arcs)
    scale, shift = np.asarray(transform["scale"], dtype=float), np.asarray(transform["translate"], dtype=float)
    return tuple(_frozen(np.asarray(arc, dtype=float)[:, :2].cumsum(axis=0) * scale + shift) for arc in arcs)


def _frozen(points: FloatArray) -> FloatArray:
    points.setflags(write=False)
    return points
