"""Where the nodes of a graph go on a page: layers by longest path, ordered so that few edges cross."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Point = tuple[float, float]
_SWEEPS = 24
_SETTLE = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Positions with causes to the left of effects, one unit between layers and at least one between neighbours in a layer.

    Attributes
    ----------
    at
        Position of every node.
    routes
        Points that every directed edge runs through, ends included.
    n_layers, height
        Extent to the right and upwards.
    """

    at: Mapping[str, Point]
    routes: Mapping[tuple[str, str], tuple[Point, ...]]
    n_layers: int
    height: float


def layered(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> Layout:
    """Lay out an acyclic graph (Sugiyama, Tagawa, Toda 1981): layers, order by barycentres, then positions.

    An edge over several layers takes a place of its own in every layer between, so that it runs around the nodes there. Parts of
    the graph that nothing connects stand below each other, and single nodes in rows at the bottom.

    Examples
    --------
    >>> found = layered(["z", "x", "y"], [("z", "x"), ("z", "y"), ("x", "y")])
    >>> [found.at[name][0] for name in "zxy"], found.n_layers
    ([0.0, 1.0, 2.0], 3)
    """
    parts = _parts(nodes, edges)
    found = [_connected(part, [edge for edge in edges if edge[0] in set(part)]) for part in parts if len(part) > 1]
    single = [part[0] for part in parts if len(part) == 1]
    n_layers = max([part.n_layers for part in found] or [min(len(single), 6), 1])
    at: dict[str, Point] = {}
    routes: dict[tuple[str, str], tuple[Point, ...]] = {}
    floor = float(-(-len(single) // n_layers))
    for k, name in enumerate(single):
        at[name] = (float(k % n_layers), floor - 1 - k // n_layers)
    for part in reversed(found):
        at |= {name: (x, y + floor) for name, (x, y) in part.at.items()}
        routes |= {edge: tuple((x, y + floor) for x, y in route) for edge, route in part.routes.items()}
        floor += part.height + 1
    return Layout(at=at, routes=routes, n_layers=n_layers, height=max(floor - 1, 0.0))


def _parts(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Return the groups of nodes that edges connect, the largest first."""
    group = {name: [name] for name in nodes}
    for one, other in edges:
        if group[one] is not group[other]:
            joined = group[one] + group[other]
            group.update(dict.fromkeys(joined, joined))
    place = {name: k for k, name in enumerate(nodes)}
    distinct = {id(members): sorted(members, key=place.__getitem__) for members in group.values()}
    return sorted(distinct.values(), key=lambda members: (-len(members), place[members[0]]))


def _connected(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> Layout:
    layer = _layers(nodes, edges)
    chains = {edge: _chain(edge, layer) for edge in dict.fromkeys(edges)}
    n_layers = max(layer.values(), default=0) + 1
    rows: list[list[str]] = [[] for _ in range(n_layers)]
    for name in nodes:
        rows[layer[name]].append(name)
    for edge, chain in chains.items():
        for k, place in enumerate(chain[1:-1], start=1):
            rows[layer[edge[0]] + k].append(place)
    near: dict[str, tuple[list[str], list[str]]] = {place: ([], []) for row in rows for place in row}
    for chain in chains.values():
        for left, right in itertools.pairwise(chain):
            near[left][1].append(right)
            near[right][0].append(left)
    ordered = _ordered(rows, near)
    height = _heights(ordered, near)
    lowest = min(height.values(), default=0.0)
    at = {place: (float(i), height[place] - lowest) for i, row in enumerate(ordered) for place in row}
    return Layout(
        at={name: at[name] for name in nodes},
        routes={edge: tuple(at[place] for place in chain) for edge, chain in chains.items()},
        n_layers=n_layers,
        height=max((y for _, y in at.values()), default=0.0),
    )


def _layers(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Return each node's longest path from a node without causes; these then move next to their first effect."""
    causes: dict[str, list[str]] = {name: [] for name in nodes}
    effects: dict[str, list[str]] = {name: [] for name in nodes}
    for cause, effect in edges:
        causes[effect].append(cause)
        effects[cause].append(effect)
    left = {name: len(found) for name, found in causes.items()}
    ready, layer = [name for name in nodes if not left[name]], dict.fromkeys(nodes, 0)
    for name in ready:
        for effect in effects[name]:
            layer[effect] = max(layer[effect], layer[name] + 1)
            left[effect] -= 1
            if not left[effect]:
                ready.append(effect)
    for name in nodes:
        if not causes[name] and effects[name]:
            layer[name] = min(layer[effect] for effect in effects[name]) - 1
    first = min(layer.values(), default=0)
    return {name: found - first for name, found in layer.items()}


def _chain(edge: tuple[str, str], layer: Mapping[str, int]) -> tuple[str, ...]:
    cause, effect = edge
    between = range(layer[cause] + 1, layer[effect])
    return (cause, *(f"{cause}\x1f{effect}\x1f{k}" for k in between), effect)


def _ordered(rows: list[list[str]], near: Mapping[str, tuple[list[str], list[str]]]) -> list[list[str]]:
    """Sort each layer by the mean place of its neighbours, to and fro, and keep the order with the fewest crossings."""
    best, fewest = [list(row) for row in rows], _crossings(rows, near)
    rows = [list(row) for row in rows]
    for sweep in range(_SWEEPS):
        forwards = sweep % 2 == 0
        side = 0 if forwards else 1
        for i in range(len(rows)) if forwards else range(len(rows) - 1, -1, -1):
            other = i - 1 if forwards else i + 1
            if not 0 <= other < len(rows):
                continue
            place = {name: k for k, name in enumerate(rows[other])}
            own = {name: k for k, name in enumerate(rows[i])}
            middle = {name: _mean([place[n] for n in near[name][side]], k) for name, k in own.items()}
            order = {name: (middle[name], own[name]) for name in rows[i]}
            rows[i].sort(key=order.__getitem__)
        crossed = _crossings(rows, near)
        if crossed < fewest:
            best, fewest = [list(row) for row in rows], crossed
    return best


def _crossings(rows: Sequence[Sequence[str]], near: Mapping[str, tuple[list[str], list[str]]]) -> int:
    """Count edges between neighbouring layers that cross."""
    count = 0
    for left, right in itertools.pairwise(rows):
        place = {name: k for k, name in enumerate(right)}
        ends = [place[n] for name in left for n in sorted(near[name][1], key=place.__getitem__)]
        count += sum(a > b for i, a in enumerate(ends) for b in ends[i + 1 :])
    return count


def _heights(rows: Sequence[Sequence[str]], near: Mapping[str, tuple[list[str], list[str]]]) -> dict[str, float]:
    """Pull every place towards the mean of its neighbours, one unit apart from the next in its layer at least."""
    most = max(len(row) for row in rows)
    height = {name: k + (most - len(row)) / 2 for row in rows for k, name in enumerate(row)}
    for _ in range(_SETTLE):
        for row in rows:
            wanted = [_mean([height[n] for side in near[name] for n in side], height[name]) for name in row]
            height.update(zip(row, _spread(wanted), strict=True))
    return height


def _spread(wanted: Sequence[float]) -> list[float]:
    """Return the nearest positions in least squares that are one apart: pools of neighbours share their mean."""
    pools: list[tuple[float, int]] = []
    for i, y in enumerate(wanted):
        total, count = y - i, 1
        while pools and pools[-1][0] / pools[-1][1] > total / count:
            more, others = pools.pop()
            total, count = total + more, count + others
        pools.append((total, count))
    free = [total / count for total, count in pools for _ in range(count)]
    return [y + i for i, y in enumerate(free)]


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else float(otherwise)
