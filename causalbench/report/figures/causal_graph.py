"""What causes what, and which nodes does the answer adjust for?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from causalbench.report import dag_drawing
from causalbench.report.canvas import Drawing

PLACE = 5
_MOST_NODES = 60


def draw(evidence: Mapping[str, Any], metric: str) -> Drawing | None:
    """Draw the study's graph with the part of every node; None without a graph, or with one too large to read."""
    graph = (evidence.get("graph") or {}).get(metric)
    if graph is None or len(graph["nodes"]) > _MOST_NODES:
        return None
    return dag_drawing.draw(graph)
