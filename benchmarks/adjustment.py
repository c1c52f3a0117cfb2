"""What does an adjusted effect cost, beside statsmodels and dowhy on the same 10,000 units?

``python benchmarks/adjustment.py [units]`` writes ``benchmarks/results/adjustment.md``. Units have ten covariates, treatment by a
logit of them, an outcome linear in them and an effect of 1 on everybody. Everything is timed once
after a warm-up on 500 units, from the table to the answer.
"""

from __future__ import annotations

import platform
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from causalbench.data.cross_section import CrossSection
from causalbench.workflow.estimate import estimate

Answer = tuple[float, float | None]
NAMES = [f"x{i}" for i in range(10)]


def draw(n: int) -> pd.DataFrame:
    """Draw units with an effect of 1."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 10))
    took = rng.random(n) < 1 / (1 + np.exp(0.5 - x[:, :3].sum(axis=1) / 2))
    y = 2 + x.sum(axis=1) / 3 + took + rng.normal(size=n)
    return pd.DataFrame(x, columns=NAMES).assign(took=took.astype(int), y=y)


def ours(table: pd.DataFrame, **options: object) -> Answer:
    """Answer by this package, from the table to the interval."""
    units = CrossSection.from_table(table, outcome="y", treatment="took", covariates=NAMES)
    found = estimate(units, "adjustment", options={"estimand": "ate", **options})
    return found.value, found.std_error


def theirs(table: pd.DataFrame, name: str) -> Answer:
    """Answer by statsmodels' treatment effects, with its GMM error."""
    from statsmodels import api
    from statsmodels.treatment.treatment_effects import TreatmentEffect

    x, took = api.add_constant(table[NAMES].to_numpy()), table.took.to_numpy()
    logit = api.Logit(took, x).fit(disp=0)
    effects = TreatmentEffect(api.OLS(table.y.to_numpy(), x), took, results_select=logit)
    found = getattr(effects, name)(return_results=True)
    return float(found.results_gmm.params[0]), float(np.sqrt(found.results_gmm.cov_params()[0, 0]))


def dowhy(table: pd.DataFrame, name: str) -> Answer:
    """Answer by an estimator of dowhy, without an error, which it has by the bootstrap only."""
    from dowhy import CausalModel

    model = CausalModel(data=table, treatment="took", outcome="y", common_causes=NAMES)
    named = model.identify_effect(proceed_when_unidentifiable=True)
    return float(model.estimate_effect(named, method_name=f"backdoor.{name}").value), None


def rows() -> Iterator[tuple[str, Callable[[pd.DataFrame], Answer]]]:
    """Yield what is timed."""
    for options in (
        {"method": "aipw"},
        {"method": "aipw", "folds": 5},
        {"method": "ipw"},
        {"method": "regression"},
        {"method": "matching"},
        {"method": "aipw", "learner": "boosting"},
        {"method": "aipw", "learner": "forest"},
    ):
        label = ", ".join(f"{key} = {value}" for key, value in options.items())
        yield f"causalbench, {label}", lambda table, options=options: ours(table, **options)  # type: ignore[misc]
    for name in ("aipw", "ipw", "ra"):
        yield f"statsmodels, {name}", lambda table, name=name: theirs(table, name)  # type: ignore[misc]
    for name in ("propensity_score_weighting", "propensity_score_matching", "linear_regression"):
        yield f"dowhy, {name}", lambda table, name=name: dowhy(table, name)  # type: ignore[misc]


def main() -> None:
    """Time everything and write the table."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    warnings.simplefilter("ignore")
    small, table = draw(500), draw(n)
    lines = [
        "# Adjusted effects: seconds beside statsmodels and dowhy",
        "",
        f"{n:,} units, ten covariates, a true average effect of 1 on everybody.",
        "",
        "| what | effect | standard error | CPU seconds |",
        "|---|---:|---:|---:|",
    ]
    for label, run in rows():
        try:
            run(small)
            began = time.process_time()
            value, error = run(table)
            spent = time.process_time() - began
        except Exception as problem:  # noqa: BLE001 a peer that fails is a result
            lines.append(f"| {label} | fails: {type(problem).__name__} | | |")
        else:
            lines.append(f"| {label} | {value:.4f} | {'none' if error is None else f'{error:.4f}'} | {spent:.2f} |")
        print(lines[-1], flush=True)
    foot = f"Python {platform.python_version()}, one process, one thread."
    (Path(__file__).parent / "results" / "adjustment.md").write_text("\n".join([*lines, "", foot]) + "\n", "utf-8")


if __name__ == "__main__":
    main()
