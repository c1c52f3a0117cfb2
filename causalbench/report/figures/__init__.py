"""Figures: one file per question, each drawn from the evidence alone; a module's ``PLACE`` is its place in reading order."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from causalbench.report.canvas import Drawing


def draw(evidence: Mapping[str, Any], metric: str) -> list[Drawing]:
    """Draw every figure that the evidence on a metric allows, in reading order."""
    drawings = (module.draw(evidence, metric) for module in _modules())
    stamp = (evidence.get("plan") or {}).get("stamp")
    found = [drawing for drawing in drawings if drawing is not None]
    return [drawing.stamped(stamp) for drawing in found] if stamp else found


def _modules() -> list[ModuleType]:
    names = [f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)]
    return sorted(map(importlib.import_module, names), key=lambda module: int(module.PLACE))
