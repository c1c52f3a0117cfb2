"""Where are the treated markets and their controls?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path

from causalbench.report.canvas import FAINT, GRID, MUTED, Drawing, canvas, short, to_svg
from causalbench.report.geo_colours import colours_of
from causalbench.wording import counted

PLACE = 15

_CONTROL, _LEFT_OUT = "control", "left out"

Ring = Sequence[Sequence[float]]


def draw(evidence: Mapping[str, Any]) -> Drawing | None:
    """Draw who is where; None where nothing is known of that."""
    shown = evidence["map"]
    if not shown or not shown["markets"]:
        return None
    cells = list(evidence["study"]["geo"]["cells"])
    colours = colours_of(cells)
    american = shown["kind"].startswith("us-")
    with canvas(height=4.6) as (figure, (axes,)):
        for ring in shown["background"]:
            if american and not _on_the_page(ring):
                continue
            axes.add_patch(PathPatch(_path([ring], american=american), facecolor="none", edgecolor=GRID, linewidth=0.7))
        for market in sorted(shown["markets"], key=lambda market: market["cell"] in colours):
            _place(axes, market, colours, american=american)
        axes.autoscale_view()
        axes.set_aspect("equal" if american else 1 / _shrink(shown))
        axes.set_axis_off()
        axes.set_title("Where the markets are", pad=22)
        axes.legend(
            handles=_legend(shown, colours), loc="lower left", bbox_to_anchor=(-0.01, 0.99), ncols=4, borderaxespad=0.2
        )
        svg = to_svg(figure)
    counts = {
        cell: sum(market["cell"] == cell for market in shown["markets"]) for cell in (*cells, _CONTROL, _LEFT_OUT)
    }
    told = ", ".join(f"{n} {name}" for name, n in counts.items() if n)
    unknown = shown["unknown"]
    return Drawing(
        name="market_map",
        svg=svg,
        alt=f"Map of the markets: {told}.",
        caption="Coloured: treated; grey: controls; light with a border: left out."
        + (f" {counted(len(unknown), 'market')} the map doesn't hold: not drawn." if unknown else "")
        + (" Alaska and Hawaii are moved and scaled." if american else ""),
    )


def _place(axes: Axes, market: Mapping[str, Any], colours: Mapping[str, str], *, american: bool) -> None:
    cell = market["cell"]
    face = colours.get(cell, FAINT if cell == _CONTROL else "none")
    if "point" in market:
        x, y = market["point"]
        edge = colours.get(cell, MUTED)
        size = 7 if cell in colours else 5
        axes.plot([x], [y], marker="o", markersize=size, color=edge, markerfacecolor=face, linestyle="")
        if cell in colours:
            name = short(market["market"])
            axes.annotate(name, (x, y), xytext=(6, 4), textcoords="offset points", color=edge)
        return
    edge = "none" if not market["rings"] else MUTED
    axes.add_patch(PathPatch(_path(market["rings"], american=american), facecolor=face, edgecolor=edge, linewidth=0.4))


def _legend(shown: Mapping[str, Any], colours: Mapping[str, str]) -> list[Patch]:
    present = {market["cell"] for market in shown["markets"]}
    handles = [Patch(facecolor=colour, label=short(cell)) for cell, colour in colours.items() if cell in present]
    if _CONTROL in present:
        handles.append(Patch(facecolor=FAINT, label="controls"))
    if _LEFT_OUT in present:
        handles.append(Patch(facecolor="none", edgecolor=MUTED, label="left out"))
    return handles


def _path(rings: Sequence[Ring], *, american: bool) -> Path:
    """Join rings to one path; points inside an even number of them are holes."""
    vertices: list[tuple[float, float]] = []
    codes: list[int] = []
    for ring in rings:
        points = _projected(ring) if american else [(x, y) for x, y in ring]
        vertices += points
        codes += [int(Path.MOVETO), *[int(Path.LINETO)] * (len(points) - 2), int(Path.CLOSEPOLY)]
    return Path(vertices or [(0.0, 0.0)], codes or [int(Path.MOVETO)])


def _projected(ring: Ring) -> list[tuple[float, float]]:
    """Project a ring of the United States; Alaska and Hawaii go below the south-west."""
    x = sum(_east(point[0]) for point in ring) / len(ring)
    y = sum(point[1] for point in ring) / len(ring)
    if y > 50 and x < -128:
        return [_moved(_albers(_east(a), b, middle=-154.0), 0.35, (-0.33, -0.39)) for a, b in ring]
    if x < -150:
        return [_moved(_albers(a, b, middle=-157.0), 1.0, (-0.15, 0.07)) for a, b in ring]
    return [_albers(a, b, middle=-96.0) for a, b in ring]


def _on_the_page(ring: Ring) -> bool:
    """Tell whether a ring is one of the fifty states: territories lie so far off that all else would shrink."""
    x = sum(_east(point[0]) for point in ring) / len(ring)
    y = sum(point[1] for point in ring) / len(ring)
    return -190 < x < -66 and y > 18.6


def _east(longitude: float) -> float:
    """Bring the Aleutians east of the date line beside those west of it."""
    return longitude - 360 if longitude > 100 else longitude


def _moved(point: tuple[float, float], scale: float, by: tuple[float, float]) -> tuple[float, float]:
    return scale * point[0] + by[0], scale * point[1] + by[1]


def _albers(longitude: float, latitude: float, *, middle: float) -> tuple[float, float]:
    """Albers' equal-area conic projection with standard parallels 29.5 and 45.5 (Snyder 1987, p. 100, eqs. 14-1 to 14-6)."""
    first, second, origin = math.radians(29.5), math.radians(45.5), math.radians(37.5)
    n = (math.sin(first) + math.sin(second)) / 2
    c = math.cos(first) ** 2 + 2 * n * math.sin(first)
    rho = math.sqrt(max(c - 2 * n * math.sin(math.radians(latitude)), 0.0)) / n
    rho_origin = math.sqrt(c - 2 * n * math.sin(origin)) / n
    theta = n * math.radians(longitude - middle)
    return rho * math.sin(theta), rho_origin - rho * math.cos(theta)


def _shrink(shown: Mapping[str, Any]) -> float:
    """Return how much shorter a degree of longitude is than one of latitude in the middle of the map."""
    latitudes = [
        point[1]
        for market in shown["markets"]
        for ring in (market["rings"] if "rings" in market else [[market["point"]]])
        for point in ring
    ]
    middle = (min(latitudes) + max(latitudes)) / 2
    return max(math.cos(math.radians(middle)), 0.2)
