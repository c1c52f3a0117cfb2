"""Which covariates a comparison at one time adjusts for: those the study names, or those its causal graph asks for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from causalbench.dag import Graph
from causalbench.dag.files import read_graph
from causalbench.dag.roles import audit
from causalbench.errors import GraphError, listing, nearest
from causalbench.study import ComparisonStudy, Metric
from causalbench.workflow.graph_rules import check_covariates, choose_covariates, ends_of, graph_section


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Covariates, who chose them, and what the graph says of every node as plain values; None without a graph."""

    covariates: tuple[str, ...]
    by_graph: bool
    graph: dict[str, Any] | None


def choose(study: ComparisonStudy, metric: Metric, *, columns: Collection[str]) -> Choice:
    """Choose the covariates of one metric.

    Parameters
    ----------
    study, metric
        What is asked. Exposure and outcome are the nodes that the graph marks, or else those named like the columns.
    columns
        Columns of the study's table.

    Raises
    ------
    GraphError
        If the graph can't be read, or has a measured node that is no column.
    RefusalError
        If the study names a covariate that the graph forbids, with the path; or if no set of columns will do, with the
        path that stays open and the cheapest repair.
    """
    if study.dag is None:
        return Choice(covariates=study.data.covariates or (), by_graph=False, graph=None)
    graph = read_graph(study.folder / study.dag)
    exposure, outcome = ends(graph, study, metric)
    _require_columns(graph, {exposure, outcome}, columns)
    if study.data.covariates is None:
        chosen = choose_covariates(graph, exposure, outcome, columns=columns)
        found = audit(graph, exposure, outcome)
    else:
        chosen = study.data.covariates
        found = check_covariates(graph, exposure, outcome, chosen)
    by_graph = study.data.covariates is None
    return Choice(covariates=chosen, by_graph=by_graph, graph=graph_section(graph, found, chosen))


def ends(graph: Graph, study: ComparisonStudy, metric: Metric) -> tuple[str, str]:
    """Return exposure and outcome; where there are several metrics, each that has a node is its own outcome."""
    exposure, outcome = ends_of(graph, exposure=(study.launch.treatment,), outcome=(metric.column, metric.name))
    several = len(study.metric) > 1 and metric.column in graph.number
    return exposure, metric.column if several else outcome


def _require_columns(graph: Graph, ends: Collection[str], columns: Collection[str]) -> None:
    """Refuse a graph with nodes that nobody has data on and that it doesn't call latent."""
    measured = [name for name in graph.nodes if name not in graph.latents | graph.selected and name not in ends]
    absent = [f"{name!r}{nearest(name, columns)}" for name in measured if name not in columns]
    if absent:
        raise GraphError(
            f"the graph has {'a node that is' if len(absent) == 1 else f'{len(absent)} nodes that are'} no column of the "
            f"table: {listing(absent)}",
            remedy=f"name nodes like columns ({listing(sorted(columns), limit=20)}), or mark what wasn't measured [latent]",
        )
