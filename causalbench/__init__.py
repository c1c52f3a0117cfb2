"""causalbench: it went out without an A/B test; what did it do, and can we believe it?

The names below are imported when they are first used, so ``import causalbench`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from causalbench.data.cross_section import CrossSection
    from causalbench.data.moments import CohortMoments
    from causalbench.data.panel import Panel
    from causalbench.errors import CausalbenchError
    from causalbench.facade import CausalImpact
    from causalbench.study import ComparisonStudy, Study, load_study
    from causalbench.values import Estimate, Readout
    from causalbench.workflow.estimate import estimate
    from causalbench.workflow.readout import load_panel, readout

_HOMES = {
    "CausalImpact": "causalbench.facade",
    "CausalbenchError": "causalbench.errors",
    "CohortMoments": "causalbench.data.moments",
    "ComparisonStudy": "causalbench.study",
    "CrossSection": "causalbench.data.cross_section",
    "Estimate": "causalbench.values",
    "Panel": "causalbench.data.panel",
    "Readout": "causalbench.values",
    "Study": "causalbench.study",
    "estimate": "causalbench.workflow.estimate",
    "load_panel": "causalbench.workflow.readout",
    "load_study": "causalbench.study",
    "readout": "causalbench.workflow.readout",
}

__all__ = [
    "CausalImpact",
    "CausalbenchError",
    "CohortMoments",
    "ComparisonStudy",
    "CrossSection",
    "Estimate",
    "Panel",
    "Readout",
    "Study",
    "estimate",
    "load_panel",
    "load_study",
    "readout",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'causalbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
