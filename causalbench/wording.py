"""Numbers and sets as people read them: the one place where they become words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

VISIBLE_WEIGHT = 5e-4
"""A donor has weight from this on, in absolute value: less is 0.0% as people read it."""


def number(value: float | None, *, digits: int = 4, sign: bool = False) -> str:
    """Write a number with about four significant digits and thousands separators; ``not computed`` for None."""
    if value is None or not math.isfinite(value):
        return "not computed"
    size = abs(value)
    if value == 0:
        return "0"
    if size >= 1e9 or size < 1e-4:
        return f"{value:{'+' if sign else ''}.{digits - 1}e}"
    places = max(digits - 1 - math.floor(math.log10(size)), 0)
    return f"{value:{'+' if sign else ''},.{places}f}"


def percent(value: float | None, *, sign: bool = False) -> str:
    """Write a share as percent with one decimal."""
    return "not computed" if value is None else f"{100 * value:{'+' if sign else ''},.1f}%"


def interval_text(interval: Mapping[str, Any] | None) -> str:
    """Write an interval's segments in words; null ends are infinite."""
    if interval is None:
        return "not computed"
    if not interval["segments"]:
        return "empty: every effect is rejected"
    parts = []
    for lower, upper in interval["segments"]:
        low = "unbounded below" if lower is None else number(lower)
        high = "unbounded above" if upper is None else number(upper)
        parts.append("unbounded on both sides" if lower is None and upper is None else f"{low} to {high}")
    return " or ".join(parts)


def interval_name(estimate: Mapping[str, Any]) -> str:
    """Say what an estimate's interval is a set of, such as ``90% conformal set of a constant effect``.

    Tests that are inverted suppose one effect for all periods; standard errors, posteriors and bands by period don't.
    """
    interval = estimate["interval"]
    if interval is None:
        return "interval"
    constant = estimate["std_error"] is None and estimate["path_bands"] is None
    what = "interval" if interval["kind"] == "credible" else "set"
    of = "a constant effect" if constant else "the average effect"
    return f"{100 * interval['level']:g}% {interval['kind']} {what} of {of}"


def evidence_text(estimate: Mapping[str, Any]) -> str:
    """Write the p-value; for a posterior, which has none, its tail."""
    if estimate["posterior_tail"] is not None:
        return f"posterior tail {number(estimate['posterior_tail'])}"
    return "not computed" if estimate["p_value"] is None else f"p = {number(estimate['p_value'])}"


def counted(n: int, word: str) -> str:
    """Write a count with its noun."""
    return f"{n} {word}" if n == 1 else f"{n} {word}s"
