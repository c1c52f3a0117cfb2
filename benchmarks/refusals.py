"""Refuse well: readouts of studies that can't be answered, and of studies that can, by kind.

A study counts as refused where its readout ends in grade D or in an error that says why. Of those that can't be answered
at least 95% should be, of those that can at most 5%. Every study says ``method = "auto"``.

Run ``python benchmarks/refusals.py [studies per kind]``; writes ``benchmarks/results/refusals.md``.
"""

from __future__ import annotations

import math
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel, single_launch_panel, staggered_panel
from causalbench.errors import CausalbenchError
from causalbench.study import load_study
from causalbench.workflow.readout import readout

RESULTS = Path(__file__).parent / "results" / "refusals.md"
N_PER_KIND = 25

PANEL = """\
[study]
name = "trial"
question = "Did it work?"
[data]
source = "table.csv"
unit = "unit"
period = "period"
[[metric]]
name = "sales"
column = "y"
[launch]
{launch}
assignment = "{assignment}"
[method]
name = "auto"
"""
ONCE = """\
{graph}[study]
name = "trial"
question = "Did it work?"
[data]
source = "table.csv"
{data}
[[metric]]
name = "sales"
column = "y"
aggregate = "mean"
[launch]
treatment = "d"
assignment = "{assignment}"
[method]
name = "auto"
"""
Kind = Callable[[Path, int], None]


def write_panel(folder: Path, panel: Panel, *, assignment: str = "chosen") -> None:
    """Write a panel as a study."""
    n = len(panel.periods)
    first = np.repeat(panel.first_treated, n)
    table = pd.DataFrame(
        {
            "unit": np.repeat(panel.units, n),
            "period": np.tile(np.array(panel.periods, dtype=object), len(panel.units)),
            "y": panel.outcome.ravel(),
            "cohort": [panel.periods[value] if value < n else "" for value in first.tolist()],
        }
    )
    table.to_csv(folder / "table.csv", index=False)
    named = f'units = {list(panel.treated_units)}\nstart = "{panel.cohorts[0]}"'.replace("'", '"')
    launch = named if len(panel.cohorts) == 1 else 'cohort = "cohort"'
    (folder / "study.toml").write_text(PANEL.format(launch=launch, assignment=assignment))


def write_people(
    folder: Path, columns: dict[str, np.ndarray], *, graph: str = "", data: str = "", assignment: str = "opt-in"
) -> None:
    """Write people, their covariates, treatment ``d`` and outcome ``y`` as a study."""
    pd.DataFrame(columns).to_csv(folder / "table.csv", index=False)
    if graph:
        (folder / "graph.dag").write_text(graph)
    named = 'dag = "graph.dag"\n' if graph else ""
    (folder / "study.toml").write_text(ONCE.format(graph=named, data=data, assignment=assignment))


def people(seed: int, *, strength: float = 0.5, hidden: float = 0.0, n: int = 500) -> dict[str, np.ndarray]:
    """Draw people with two covariates, an outcome before, and an effect of .3; ``hidden`` moves treatment and outcomes alike."""
    rng = np.random.default_rng(seed)
    a, b, u = rng.normal(size=(3, n))
    taken = (rng.random(n) < 1 / (1 + np.exp(-strength * (a + b) - hidden * u))).astype(int)
    before = a + b + hidden * u + rng.normal(size=n)
    after = a + b + hidden * u + 0.3 * taken + rng.normal(size=n)
    return {"a": a, "b": b, "before": before, "d": taken, "y": after}


GRAPH = "a -> d ; b -> d ; a -> y ; b -> y ; d -> y"
DAYS = {"n_pre": 49, "n_donors": 20, "n_contaminated": 0}


def nobody_to_compare_with(folder: Path, seed: int) -> None:
    """One series over 70 weeks: whatever else happened at the launch looks like its effect."""
    panel = factor_panel(n_units=2, n_periods=70, n_treated=1, n_post=8, effect=1.0, rho=0.3, seed=seed)
    write_panel(folder, panel.only(units=np.array([True, False])))


def nobody_and_no_history(folder: Path, seed: int) -> None:
    """One series over 16 periods."""
    panel = factor_panel(n_units=2, n_periods=16, n_treated=1, n_post=4, effect=1.0, rho=0.3, seed=seed)
    write_panel(folder, panel.only(units=np.array([True, False])))


def too_early(folder: Path, seed: int) -> None:
    """Three days of a metric with a weekly rhythm."""
    write_panel(folder, single_launch_panel(seed=seed, n_post=3, **DAYS))


def no_overlap(folder: Path, seed: int) -> None:
    """Hardly anybody who didn't take it is like those who did."""
    drawn = people(seed, strength=4.0)
    write_people(folder, drawn, graph=GRAPH, data='before = "before"')


def hidden_confounder_by_the_graph(folder: Path, seed: int) -> None:
    """The graph itself names a cause of both that nobody measured."""
    write_people(folder, people(seed, hidden=1.0), graph=f"{GRAPH} ; u [latent] ; u -> d ; u -> y")


def hidden_confounder_by_the_past(folder: Path, seed: int) -> None:
    """No graph, and a hidden cause that moved the outcome before the treatment too."""
    drawn = people(seed, hidden=1.0, n=800)
    write_people(folder, drawn, data='covariates = ["a", "b"]\nbefore = "before"', assignment="chosen")


def treated_all_along(folder: Path, seed: int) -> None:
    """The launch was there from the first period on."""
    panel = factor_panel(n_units=20, n_periods=20, n_treated=3, n_post=19, effect=1.0, rho=0.3, seed=seed)
    write_panel(folder, panel.only(periods=np.arange(20) > 0))


def covariate_that_follows_from_it(folder: Path, seed: int) -> None:
    """The study adjusts for something that the treatment moves, by its own graph."""
    drawn = people(seed)
    drawn["visits"] = drawn["d"] + np.random.default_rng([seed, 1]).normal(size=len(drawn["d"]))
    graph = f"{GRAPH} ; d -> visits ; visits -> y"
    write_people(folder, drawn, graph=graph, data='covariates = ["a", "b", "visits"]')


def drawn_markets(folder: Path, seed: int) -> None:
    """Six of twelve markets, drawn."""
    panel = factor_panel(n_units=12, n_periods=24, n_treated=6, n_post=8, effect=0.5, rho=0.3, seed=seed)
    write_panel(folder, panel, assignment="random")


def many_treated(folder: Path, seed: int) -> None:
    """Twelve of forty units, one date, parallel trends."""
    panel = staggered_panel(n_units=40, n_periods=20, launches=(12,), n_never=28, effect=0.5, rho=0.3, seed=seed)
    write_panel(folder, panel)


def phased(folder: Path, seed: int) -> None:
    """Three cohorts of ten, and ten never treated."""
    panel = staggered_panel(n_units=40, n_periods=20, launches=(8, 11, 14), n_never=10, effect=0.5, rho=0.3, seed=seed)
    write_panel(folder, panel)


def few_treated(folder: Path, seed: int) -> None:
    """Three treated units and thirty controls of a factor model."""
    panel = factor_panel(n_units=33, n_periods=60, n_treated=3, n_post=8, effect=0.5, rho=0.3, seed=seed)
    write_panel(folder, panel)


def one_country(folder: Path, seed: int) -> None:
    """One treated unit like its donors, none of which reacted."""
    write_panel(folder, single_launch_panel(seed=seed, n_post=14, holiday=0.0, **DAYS))


def drawn_people(folder: Path, seed: int) -> None:
    """A drawn list of people."""
    write_people(folder, people(seed, strength=0.0), data='covariates = ["a", "b"]', assignment="random")


def likened_people(folder: Path, seed: int) -> None:
    """People who chose, by what was measured; the graph says so."""
    write_people(folder, people(seed), graph=GRAPH)


def likened_people_with_a_past(folder: Path, seed: int) -> None:
    """The same, with an outcome from before."""
    write_people(folder, people(seed), graph=GRAPH, data='before = "before"')


UNANSWERABLE: tuple[Kind, ...] = (
    nobody_to_compare_with,
    nobody_and_no_history,
    too_early,
    no_overlap,
    hidden_confounder_by_the_graph,
    hidden_confounder_by_the_past,
    treated_all_along,
    covariate_that_follows_from_it,
)
CLEAN: tuple[Kind, ...] = (
    drawn_markets,
    many_treated,
    phased,
    few_treated,
    one_country,
    drawn_people,
    likened_people,
    likened_people_with_a_past,
)


def outcome_of(kind: Kind, seed: int) -> str:
    """Return the grade of a study's readout, or ``refused``."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        kind(folder, seed)
        try:
            found = readout(load_study(folder))
        except CausalbenchError:
            return "refused"
    return str((found.grade or {}).get("grade"))


def measured(kinds: tuple[Kind, ...], n: int) -> tuple[list[str], int]:
    """Return a row per kind, and how many studies were refused or graded D."""
    rows, total = [], 0
    for number, kind in enumerate(kinds):
        found = [outcome_of(kind, 1000 * number + seed) for seed in range(n)]
        refused = sum(one in ("D", "refused") for one in found)
        total += refused
        counts = ", ".join(f"{found.count(one)} {one}" for one in ("A", "B", "C", "D", "refused") if one in found)
        doc = (kind.__doc__ or "").strip().rstrip(".")
        rows.append(f"| {kind.__name__.replace('_', ' ')} | {doc} | {refused} of {n} | {counts} |")
        print(rows[-1], flush=True)
    return rows, total


def main(n: int) -> None:
    """Measure and write the page."""
    lines = [
        "# Refuse well",
        "",
        f'{n} studies of each kind, `method = "auto"`; a study is refused where its readout ends in grade D or in an error',
        "that says why. Wanted: at least 95% of those that can't be answered, at most 5% of those that can.",
        "Three kinds were replaced after a first look: a hidden cause that cancels in changes (answerable after all), a third of",
        "the controls reacting to the launch (the readout left them out and gave B), and a larger draw of markets (slow).",
        f"Python {platform.python_version()}; `python benchmarks/refusals.py`.",
    ]
    for title, kinds in (("Can't be answered", UNANSWERABLE), ("Can be answered", CLEAN)):
        rows, refused = measured(kinds, n)
        total = n * len(kinds)
        share = refused / total
        error = math.sqrt(share * (1 - share) / total)
        lines += [
            "",
            f"## {title}",
            "",
            "| kind | what it is | refused or D | grades |",
            "|---|---|---:|---|",
            *rows,
            "",
        ]
        lines.append(f"Refused or D: {refused} of {total}, {100 * share:.1f}% (Monte Carlo error {100 * error:.1f}).")
    RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else N_PER_KIND)
