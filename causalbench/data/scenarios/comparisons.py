"""Units that chose for themselves, compared at one time."""

from __future__ import annotations

from causalbench.data.scenarios.scenario import Scenario
from causalbench.data.self_selection import GRAPH, self_selected


def self_selected_adopters(*, seed: int, effect: bool) -> Scenario:
    """A9: a graph with a confounder, a mediator, a collider and an M-structure; the total effect is 3."""
    size = 3.0 if effect else 0.0
    people = self_selected(effect=size, seed=seed)
    study = """
dag = "graph.dag"

[study]
name = "loyalty-card"
question = "Did the card raise spending?"

[data]
source = "table.csv"
unit = "person"
before = "last_spend"

[[metric]]
name = "spending"
column = "spend"

[launch]
treatment = "took"
assignment = "opt-in"

[method]
name = "auto"
"""
    table = people.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    return Scenario(
        name="A9",
        files={"study.toml": study.lstrip(), "graph.dag": GRAPH, "table.csv": str(table)},
        truth={"value": size, "must": ("income",), "must_not": ("visits", "survey")},
    )
