"""Figures: one file per question, each drawn from the evidence alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from causalbench.report.figures import donor_weights, effect_path, placebo_gaps
from causalbench.report.figures.canvas import Drawing


def draw(evidence: Mapping[str, Any], metric: str) -> list[Drawing]:
    """Draw every figure that the evidence on a metric allows, in reading order."""
    drawings = (module.draw(evidence, metric) for module in (effect_path, placebo_gaps, donor_weights))
    return [drawing for drawing in drawings if drawing is not None]
