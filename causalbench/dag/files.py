"""A graph from a file beside the study."""

from __future__ import annotations

from pathlib import Path

from causalbench.dag.graph import Graph
from causalbench.errors import GraphError, nearest


def read_graph(path: str | Path) -> Graph:
    """Read a graph from a file of dagitty text, DOT, GML or a CSV edge list; the content says which, not the name.

    Raises
    ------
    GraphError
        Where there is no such file, or with line and column of what can't be read in it.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        siblings = [p.name for p in path.parent.iterdir() if p.is_file()] if path.parent.is_dir() else []
        raise GraphError(
            f"there is no file {path}{nearest(path.name, siblings)}", remedy="correct the path of the graph"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise GraphError(f"{path} can't be read: {error}", remedy="save it as UTF-8 text") from None
    if not text.strip():
        raise GraphError(f"{path} is empty", remedy='write edges such as "a -> b"')
    try:
        return Graph.parse(text)
    except GraphError as error:
        raise GraphError(f"{path.name}: {error.message}", remedy=error.remedy) from None
