"""What figures of geo experiments share: colours of cells told apart in print and on a dark page, and percents on an axis."""

from __future__ import annotations

from collections.abc import Sequence

from causalbench.report.canvas import COUNTERFACTUAL, OBSERVED

_COLOURS = (OBSERVED, COUNTERFACTUAL, "#2f8558", "#8c58b0", "#a8831a", "#c24a7d")
PERCENT = "{x:g}%"
"""Labels of an axis in percent."""


def colours_of(cells: Sequence[str]) -> dict[str, str]:
    """Return each treated cell's colour."""
    return dict(zip(cells, _COLOURS, strict=False))
