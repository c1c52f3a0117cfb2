"""A comparison's graph held against its table, as one of the readout's checks."""

from __future__ import annotations

from collections.abc import Mapping

from causalbench.artifacts import plain
from causalbench.dag import Graph
from causalbench.dag.files import read_graph
from causalbench.errors import DataError, RefusalError
from causalbench.study import ComparisonStudy, Metric
from causalbench.values import CheckResult
from causalbench.workflow.check_order import refused
from causalbench.workflow.comparison_graph import ends
from causalbench.workflow.graph_test import GraphTest, hold_against
from causalbench.workflow.method import generator
from causalbench.workflow.reading import open_rows

NAME = "graph-fits-data"
QUESTION = "Do the data contradict the graph?"


def graph_check(study: ComparisonStudy, metric: Metric) -> CheckResult | None:
    """Test the independences that the graph implies, one by one and beside relabelings; None for a study without a graph."""
    if study.dag is None:
        return None
    graph = read_graph(study.folder / study.dag)
    exposure, outcome = ends(graph, study, metric)
    named = renamed(graph, {exposure: study.launch.treatment, outcome: metric.column})
    rng = generator(study.run.seed, metric.name, "check", NAME)
    try:
        found = hold_against(named, open_rows(study), rng=rng, level=study.method.level)
    except (DataError, RefusalError) as refusal:
        return refused(NAME, QUESTION, refusal)
    return CheckResult(
        name=NAME,
        question=QUESTION,
        verdict=found.verdict,
        reason=found.sentence,
        remedy=_remedy(found),
        statistic=None if found.falsification is None else found.falsification.p_value,
        table={
            "n_claims": len(found.claims),
            "rejected": [str(claim) for claim in found.claims if claim.rejected],
            "suspects": [str(suspect) for suspect in found.suspects],
            "falsification": plain(found.falsification),
            "notes": list(found.notes),
        },
    )


def _remedy(found: GraphTest) -> str:
    missing = [suspect for suspect in found.suspects if suspect.kind == "missing"]
    if found.verdict in ("pass", "not_evaluable") or not missing:
        return ""
    first = missing[0]
    more = "" if len(missing) == 1 else f" and {len(missing) - 1} more"
    return f"Think again about {' and '.join(first.ends)}{more}: an edge or a common cause may be missing."


def renamed(graph: Graph, names: Mapping[str, str]) -> Graph:
    """Return the graph with some nodes under other names.

    Examples
    --------
    >>> renamed(Graph.parse("a -> b"), {"a": "treat"}).edges
    (('treat', 'b'),)
    """
    called = {node: names.get(node, node) for node in graph.nodes}
    return Graph(
        edges=tuple((called[cause], called[effect]) for cause, effect in graph.edges),
        nodes=tuple(called.values()),
        bidirected=tuple((called[one], called[other]) for one, other in graph.bidirected),
        latents=frozenset(called[node] for node in graph.latents),
        selected=frozenset(called[node] for node in graph.selected),
        exposure=None if graph.exposure is None else called[graph.exposure],
        outcome=None if graph.outcome is None else called[graph.outcome],
    )
