"""Figures of a geo test's readout: one file per question, drawn from the evidence alone; ``PLACE`` is the reading order."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from causalbench.report.canvas import Drawing


def draw(evidence: Mapping[str, Any], metric: str | None = None) -> list[Drawing]:
    """Draw every figure that the evidence on a metric allows, in reading order; by default on the headline's metric."""
    metric = evidence["headline"]["metric"] if metric is None else metric
    return [drawing for module in _modules() for drawing in module.draw(evidence, metric)]


def _modules() -> list[ModuleType]:
    names = [
        f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")
    ]
    return sorted(map(importlib.import_module, names), key=lambda module: int(module.PLACE))
