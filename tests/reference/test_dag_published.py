"""Graphs with known answers: 142 random ones, and the 18 models of "A crash course in good and bad controls"."""

from __future__ import annotations

import json
import os
from itertools import islice
from pathlib import Path

import pytest

from causalbench import dag
from causalbench.dag.instruments import instruments
from causalbench.dag.roles import audit

FOLDER = os.environ.get("CAUSALBENCH_REFERENCE")
if FOLDER is None:
    pytest.skip("CAUSALBENCH_REFERENCE names no folder of reference cases", allow_module_level=True)
# Source: MANIFEST of the reference folder, dag/random_dags.json (answers of dagitty, y0 and ananke).
RANDOM = json.loads((Path(FOLDER) / "dag/random_dags.json").read_text("utf-8"))
# Source: Cinelli, Forney, Pearl (2022), "A crash course in good and bad controls", models 1-18.
CONTROLS = json.loads((Path(FOLDER) / "dag/cinelli_forney_pearl_18.json").read_text("utf-8"))

every_graph = pytest.mark.parametrize("case", RANDOM, ids=lambda case: case["id"])


def sets(found):
    return {frozenset(one) for one in found}


@every_graph
def test_sets_and_verdicts(case):
    graph, x, y, expected = dag.Graph.parse(case["dagitty"]), case["exposure"], case["outcome"], case["expected"]
    for effect in ("total", "direct"):
        found = sets(dag.minimal_adjustment_sets(graph, x, y, effect=effect))
        assert found == sets(expected[f"minimal_adjustment_sets_{effect}"])
    assert dag.forbidden_nodes(graph, x, y) == set(expected["forbidden_nodes"])
    canonical = dag.canonical_adjustment_set(graph, x, y)
    assert (canonical is not None) == expected["adjustment_identifiable"]
    assert canonical is None or canonical == set(expected["canonical_adjustment_set"])
    if expected["optimal_adjustment_set"] is not None:
        assert dag.optimal_adjustment_set(graph, x, y) == set(expected["optimal_adjustment_set"])
    after = graph.names(i for i in graph.descendants(graph.require((y,))) if i < len(graph.nodes))
    for candidate in expected["candidate_sets"]:
        chosen = candidate["set"]
        assert dag.is_adjustment_set(graph, x, y, chosen) == candidate["valid_total"]
        # The reference asks for separation alone; a set with a descendant of the outcome biases the direct effect all the same.
        direct = candidate["valid_direct"] and not after & set(chosen)
        assert dag.is_adjustment_set(graph, x, y, chosen, effect="direct") == direct


@every_graph
def test_separation_instruments_identification_and_implications(case):
    graph, x, y, expected = dag.Graph.parse(case["dagitty"]), case["exposure"], case["outcome"], case["expected"]
    for query in expected["dseparation"]:
        assert dag.d_separated(graph, query["x"], query["y"], query["given"]) == query["dseparated"]
    later = graph.names(i for i in graph.descendants(graph.require((x,))) if i < len(graph.nodes))
    # As the MANIFEST says: compared after dropping descendants of the exposure.
    named = {(i["z"], frozenset(i["given"])) for i in expected["instruments"] if i["z"] not in later}
    assert {(found.node, found.given) for found in instruments(graph, x, y)} == named
    verdict = expected["id_identifiable_y0"]
    assert verdict is None or dag.identify(graph, x, y).identified == verdict
    claims = {(frozenset((c["x"], c["y"])), frozenset(c["given"])) for c in expected["implied_independences"]}
    found = {(frozenset((c.x, c.y)), c.given) for c in islice(dag.implied_independences(graph), 20_000)}
    assert claims <= found
    assert expected["implications_truncated"] or claims == found


ADVICE = {"good": ("must", "may"), "bad": ("must not",)}


@pytest.mark.parametrize("case", CONTROLS, ids=lambda case: case["id"])
def test_good_and_bad_controls(case):
    graph = dag.Graph.parse(case["dagitty"])
    found = audit(graph, case["exposure"], case["outcome"])
    (verdict,) = (v for v in found.verdicts if v.node == case["control"])
    assert verdict.advice.value in ADVICE.get(case["verdict"], ("may",))
    assert verdict.role.value == ROLES[case["model"]]
    assert case["control"] in verdict.path


# The reasons of the paper, in the words of the audit.
ROLES = dict.fromkeys(range(1, 7), "confounder") | {
    7: "collider between two causes (M-bias)",
    8: "cause of the outcome alone",
    9: "cause of the exposure alone",
    10: "cause of the exposure alone",
    11: "mediator",
    12: "descendant of a mediator",
    13: "cause of the outcome alone",
    14: "descendant of the exposure off the causal paths",
    15: "descendant of the exposure off the causal paths",
    16: "collider",
    17: "descendant of the outcome",
    18: "descendant of the outcome",
}
