"""The columns of a table that are nodes of a graph, as blocks of numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from causalbench.dag import Graph
from causalbench.data import sources
from causalbench.data.sources import Source
from causalbench.errors import DataError, listing, nearest
from causalbench.values import BoolArray, FloatArray, IntArray

_MOST_LEVELS = 50
_FEWEST_ROWS = 20


@dataclass(frozen=True, kw_only=True, eq=False)
class NodeData:
    """What a table says about a graph.

    Attributes
    ----------
    graph
        The graph, with measured nodes that the table lacks marked latent.
    blocks
        Per node a block (n, p): numbers as they are, two values as one column of 0 and 1, text as one such column per level but
        the first.
    absent
        Nodes that were marked latent because the table has no column for them, or one with a single value.
    n_rows, n_dropped
        Rows in use, and rows left out for an empty cell.

    Notes
    -----
    Not slotted, so that derived arrays are computed once.
    """

    graph: Graph
    blocks: dict[str, FloatArray]
    absent: tuple[str, ...]
    n_rows: int
    n_dropped: int

    @cached_property
    def columns(self) -> dict[str, IntArray]:
        """Numbers of each node's columns in :attr:`correlation`."""
        ends = np.cumsum([block.shape[1] for block in self.blocks.values()])
        return {
            name: np.arange(end - block.shape[1], end)
            for end, (name, block) in zip(ends.tolist(), self.blocks.items(), strict=True)
        }

    @cached_property
    def standard(self) -> FloatArray:
        """All columns of all blocks with mean 0 and variance 1, shape (n_rows, d)."""
        cells = np.column_stack(list(self.blocks.values()))
        centred: FloatArray = cells - cells.mean(axis=0)
        return np.asarray(centred / centred.std(axis=0))

    @cached_property
    def correlation(self) -> FloatArray:
        """Correlation matrix of all columns of all blocks."""
        return np.asarray(self.standard.T @ self.standard / self.n_rows)

    def numeric(self, name: str) -> bool:
        """Tell whether a node is a number with more than two values."""
        block = self.blocks[name]
        return block.shape[1] == 1 and not bool(_zero_one(block[:, 0]).all())


def open_table(path: Path) -> Source:
    """Open a table of units for a graph: a CSV or Parquet file."""
    if not path.exists():
        siblings = [p.name for p in path.parent.iterdir() if p.is_file()] if path.parent.is_dir() else []
        raise DataError(
            f"there is no file {path}{nearest(path.name, siblings)}", remedy="correct the path of the table"
        )
    whole = path.resolve()
    return sources.from_file(whole, folder=whole.parent, unit="", period="")


def node_data(graph: Graph, source: Source) -> NodeData:
    """Read the columns that are nodes of a graph; rows with an empty cell are left out and counted.

    Raises
    ------
    DataError
        Where fewer than three nodes are columns, few rows are left, a text column has too many levels, or cells are infinite
        or dates.
    """
    names = list(source.frame.collect_schema())
    measured = [name for name in graph.nodes if name not in graph.latents | graph.selected]
    present = [name for name in measured if name in names]
    if len(present) < 3:
        lacking = [f"{name!r}{nearest(name, names)}" for name in measured if name not in names]
        count = f"{len(present)} {'node' if len(present) == 1 else 'nodes'}"
        raise DataError(
            f"{source.origin} has columns for {count} of the graph; it lacks {listing(lacking)}",
            remedy="name nodes as the table's columns are named; a test of the graph needs at least three",
        )
    table = sources.collect(source.frame.select(*map(nw.col, present)), source)
    whole = table.dropna()
    if len(whole) < _FEWEST_ROWS:
        raise DataError(
            f"{source.origin} has {len(whole)} rows without an empty cell among the graph's nodes",
            remedy=f"a test of the graph needs at least {_FEWEST_ROWS}; leave nodes with many empty cells out",
        )
    blocks = {name: block for name in present if (block := _block(whole[name], name)).shape[1]}
    absent = tuple(name for name in measured if name not in blocks)
    return NodeData(
        graph=replace_latents(graph, absent),
        blocks=blocks,
        absent=absent,
        n_rows=len(whole),
        n_dropped=len(table) - len(whole),
    )


def replace_latents(graph: Graph, more: tuple[str, ...]) -> Graph:
    """Return a graph with more latent nodes; what the sample was selected on stays given, measured or not."""
    return replace(graph, latents=graph.latents | frozenset(more)) if more else graph


def _block(values: pd.Series[Any], name: str) -> FloatArray:
    """Return a column as numbers; one with a single value says nothing and has no columns."""
    if pd.api.types.is_numeric_dtype(values.dtype) or pd.api.types.is_bool_dtype(values.dtype):
        numbers = values.to_numpy(dtype=float)
        infinite = np.isinf(numbers)
        if infinite.any():
            rows = listing(str(i) for i in values.index[infinite])
            raise DataError(
                f"column {name!r} has {int(infinite.sum())} infinite cells (rows {rows}, counted from 0)",
                remedy="correct or empty them",
            )
        levels = np.unique(numbers)
        if len(levels) > 2:
            return np.asarray(numbers[:, None])
        return np.asarray(numbers[:, None] == levels[None, 1:], dtype=float)
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        raise DataError(
            f"column {name!r} holds dates",
            remedy="turn them into numbers, such as days since the first, or mark the node latent",
        )
    labels = values.astype(str).str.strip().to_numpy(dtype=object)
    kinds = sorted(set(labels.tolist()))
    if len(kinds) > _MOST_LEVELS:
        raise DataError(
            f"column {name!r} is text with {len(kinds)} levels",
            code="CB-D041",
            remedy=f"group them into at most {_MOST_LEVELS}, or store numbers",
        )
    return np.column_stack([np.empty((len(labels), 0)), *(labels == kind for kind in kinds[1:])]).astype(float)


def _zero_one(column: FloatArray) -> BoolArray:
    found: BoolArray = np.isin(column, (0.0, 1.0))
    return found
