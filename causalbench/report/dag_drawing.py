"""A causal graph as a picture: causes to the left, the part of every node in shape and the advice on it in colour."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch
from matplotlib.path import Path

from causalbench.report.canvas import COUNTERFACTUAL, FAINT, INK, MUTED, OBSERVED, Drawing, canvas, short, to_svg
from causalbench.report.dag_layout import Layout, Point, layered

_SHAPES = {
    "exposure": ">",
    "outcome": "s",
    "confounder": "o",
    "mediator": "D",
    "descendant of a mediator": "v",
    "descendant of the outcome": "v",
    "collider": "X",
    "collider between two causes (M-bias)": "X",
    "descendant of the exposure off the causal paths": "v",
    "cause of the exposure alone": "^",
    "cause of the outcome alone": "p",
    "selected on": "P",
    "not measured": "o",
    "no part in it": ".",
}
_COLOURS = {"must": "#2f8558", "may": MUTED, "must not": "#c24a7d"}
_SIZE = 11.0
_LABEL = 8.5
_MOST_IN_ROW = 3
_PIECES = 24
_ROOM = 1.4
_GAP = 0.14
"""Inches between the middle of a node and an arrow."""


def draw(graph: Mapping[str, Any]) -> Drawing:
    """Draw a graph with its audit.

    Parameters
    ----------
    graph
        ``nodes`` with name, role, advice (must, may, must not or None), adjusted and latent; ``edges`` and ``bidirected`` as
        pairs of names; ``exposure``, ``outcome`` and ``sentence``.

    Returns
    -------
    Drawing
        Readable for about 40 nodes; more make a large picture.
    """
    nodes = list(graph["nodes"])
    edges = [(str(a), str(b)) for a, b in graph["edges"]]
    layout = layered([node["name"] for node in nodes], edges)
    entries = _legend(nodes, with_pairs=bool(graph["bidirected"]))
    rows = -(-len(entries) // _MOST_IN_ROW)
    width = min(max(7.6, 1.15 * layout.n_layers), 20.0)
    height = min(max(1.6, 0.62 * (layout.height + 1.2)), 20.0) + 0.24 * rows
    with canvas(width=width, height=height) as (figure, axes):
        plot = axes[0]
        plot.set_axis_off()
        plot.set_xlim(-0.55, layout.n_layers - 0.45)
        plot.set_ylim(-0.75, layout.height + 0.45)
        for edge in edges:
            _edge(plot, layout.routes[edge], size=(width, height), causal=edge[0] == graph["exposure"])
        for one, other in graph["bidirected"]:
            _pair(plot, layout.at[one], layout.at[other])
        for node in nodes:
            _node(plot, node, layout.at[node["name"]], above=_crowded_below(node["name"], layout))
        plot.legend(
            handles=entries,
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            ncols=min(_MOST_IN_ROW, len(entries)),
            borderaxespad=0.2,
            handletextpad=0.4,
            columnspacing=1.2,
        )
        svg = to_svg(figure)
    return Drawing(name="causal_graph", svg=svg, alt=_alt(graph, layout), caption=_caption(graph))


def _style(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return a node's marker: colour says what to do, shape says why."""
    role = node["role"]
    colour = {"exposure": OBSERVED, "outcome": COUNTERFACTUAL}.get(role, _COLOURS.get(node["advice"] or "", MUTED))
    hollow = bool(node.get("latent"))
    return {
        "marker": _SHAPES.get(role, "."),
        "markersize": _SIZE * (0.86 if _SHAPES.get(role) in ("D", "s") else 1.0),
        "markerfacecolor": "none" if hollow else colour,
        "markeredgecolor": MUTED if hollow else colour,
        "markeredgewidth": 1.4 if hollow else 0.8,
        "linestyle": "none",
    }


def _crowded_below(name: str, layout: Layout) -> bool:
    """Tell whether a name is better off above its node: more arrows come from below, and there is room."""
    x, y = layout.at[name]
    if any(other == x and 0 < higher - y < _ROOM for other, higher in layout.at.values()):
        return False
    steps = [route[1][1] - route[0][1] for (cause, _), route in layout.routes.items() if cause == name]
    steps += [route[-2][1] - route[-1][1] for (_, effect), route in layout.routes.items() if effect == name]
    return sum(step < -0.2 for step in steps) > sum(step > 0.2 for step in steps)


def _node(axes: Axes, node: Mapping[str, Any], at: Point, *, above: bool) -> None:
    if node.get("adjusted"):
        axes.plot(
            *at, marker="o", markersize=_SIZE + 7, markerfacecolor="none", markeredgecolor=INK, markeredgewidth=1.0
        )
    axes.plot(*at, zorder=3, **_style(node))
    axes.annotate(
        short(node["name"]),
        at,
        xytext=(0, _SIZE - 1 if above else -_SIZE - 1),
        textcoords="offset points",
        ha="center",
        va="bottom" if above else "top",
        fontsize=_LABEL,
        color=INK,
        zorder=4,
    )


def _edge(axes: Axes, route: Sequence[Point], *, size: Point, causal: bool) -> None:
    """Draw an arrow through the points of its route."""
    axes.add_patch(
        FancyArrowPatch(
            path=Path(_trimmed(axes, _smooth(route), size)),
            arrowstyle="-|>,head_length=5,head_width=2.6",
            color=OBSERVED if causal else FAINT,
            linewidth=1.3 if causal else 1.1,
            zorder=1,
        )
    )


def _smooth(route: Sequence[Point]) -> list[Point]:
    """Return points of a curve through a route that turns only where the route does (Fritsch, Carlson 1980)."""
    steps = [y1 - y0 for (_, y0), (_, y1) in itertools.pairwise(route)]
    inner = [2 * a * b / (a + b) if a * b > 0 else 0.0 for a, b in itertools.pairwise(steps)]
    slopes = [0.7 * steps[0], *inner, 0.7 * steps[-1]]
    points = [route[0]]
    for k, ((x0, y0), (x1, y1)) in enumerate(itertools.pairwise(route)):
        for step in range(1, _PIECES + 1):
            t = step / _PIECES
            rise = t * t * (3 - 2 * t)
            bend = t * (1 - t) * ((1 - t) * slopes[k] - t * slopes[k + 1])
            points.append((x0 + t * (x1 - x0), y0 + rise * (y1 - y0) + bend))
    return points


def _trimmed(axes: Axes, points: Sequence[Point], size: Point) -> list[Point]:
    """Cut a curve where it comes near its two nodes, so that the arrow ends at their edge; ``size`` in inches."""
    width, height = size
    across, up = axes.get_xlim()[1] - axes.get_xlim()[0], axes.get_ylim()[1] - axes.get_ylim()[0]

    def far(point: Point, other: Point) -> bool:
        return math.hypot((point[0] - other[0]) * width / across, (point[1] - other[1]) * height / up) > _GAP

    kept = [point for point in points if far(point, points[0]) and far(point, points[-1])]
    return kept if len(kept) > 1 else [points[0], points[-1]]


def _pair(axes: Axes, one: Point, other: Point) -> None:
    """Draw an unmeasured common cause as a dashed arc with two heads."""
    first, second = sorted([one, other])
    apart = math.dist(first, second)
    bulge = 0.35 if first[0] != second[0] else min(0.35, 0.4 / apart)
    axes.add_patch(
        FancyArrowPatch(
            first,
            second,
            connectionstyle=f"arc3,rad={-bulge:.3f}",
            arrowstyle="<|-|>,head_length=4.5,head_width=2.2",
            color=MUTED,
            linewidth=1.1,
            linestyle=(0, (4, 3)),
            shrinkA=_SIZE - 1,
            shrinkB=_SIZE - 1,
            zorder=1,
            clip_on=False,
        )
    )


def _legend(nodes: Sequence[Mapping[str, Any]], *, with_pairs: bool) -> list[Line2D]:
    """Return one entry per part and advice that occurs, in the order must, may, must not."""
    order = (None, "must", "may", "must not")
    kinds = {(order.index(node["advice"]), node["role"]): node for node in reversed(nodes)}
    entries = []
    for (rank, role), node in sorted(kinds.items(), key=lambda item: item[0]):
        advice = {"must": "adjust: ", "may": "may: ", "must not": "never: "}.get(order[rank] or "", "")
        style: dict[str, Any] = _style(node) | {"markersize": _SIZE * 0.72}
        entries.append(Line2D([], [], label=advice + _brief(role), **style))
    if any(node.get("adjusted") for node in nodes):
        ring: dict[str, Any] = {
            "marker": "o",
            "markersize": _SIZE,
            "markerfacecolor": "none",
            "markeredgecolor": INK,
            "linestyle": "none",
        }
        entries.append(Line2D([], [], label="ring: adjusted for", **ring))
    if with_pairs:
        entries.append(
            Line2D([], [], label="unmeasured common cause", color=MUTED, linewidth=1.1, linestyle=(0, (4, 3)))
        )
    return entries


def _brief(role: str) -> str:
    """Shorten a part for the legend."""
    return {
        "descendant of the exposure off the causal paths": "after the exposure",
        "collider between two causes (M-bias)": "collider (M-bias)",
        "descendant of a mediator": "after a mediator",
        "descendant of the outcome": "after the outcome",
        "cause of the exposure alone": "moves the exposure alone",
        "cause of the outcome alone": "moves the outcome alone",
    }.get(role, role)


def _alt(graph: Mapping[str, Any], layout: Layout) -> str:
    n_edges, n_pairs = len(graph["edges"]), len(graph["bidirected"])
    pairs = f" and {n_pairs} unmeasured common cause{'s' if n_pairs > 1 else ''}" if n_pairs else ""
    return (
        f"Causal graph of {len(layout.at)} nodes and {n_edges} edges{pairs}, from {graph['exposure']} to {graph['outcome']}. "
        f"{graph.get('sentence', '')}"
    ).strip()


def _caption(graph: Mapping[str, Any]) -> str:
    chosen = [node["name"] for node in graph["nodes"] if node.get("adjusted")]
    ring = f" A ring marks what is adjusted for: {', '.join(chosen)}." if chosen else ""
    return f"Causes stand to the left of their effects. Shapes say what part a node plays, colours what to do about it.{ring}"
