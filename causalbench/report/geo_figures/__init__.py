"""Figures of a geo design: one file per question, each drawn from the evidence alone, in the order of ``PLACE``."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from causalbench.report.canvas import Drawing


def draw(evidence: Mapping[str, Any]) -> list[Drawing]:
    """Draw every figure that the evidence allows, in reading order."""
    drawings = (module.draw(evidence) for module in _modules())
    return [drawing for drawing in drawings if drawing is not None]


def _modules() -> list[ModuleType]:
    names = [f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)]
    return sorted(map(importlib.import_module, names), key=lambda module: int(module.PLACE))
