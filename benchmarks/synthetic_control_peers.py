"""Synthetic control beside its peers: Proposition 99 with the predictors of 2010, and on outcomes alone.

``make bench-peers`` runs it; ``CAUSALBENCH_REFERENCE`` names the folder with ``sc/prop99_adh_predictors.csv``, which isn't
shipped. The table goes to ``benchmarks/results/synthetic_control_peers.md``. Every program is a process of its own on the same
file. Timed is from the data frame to the weights; each program's weights are judged here by the same formula, the mean
squared gap of 1970-88. What a program calls its own fit isn't looked at.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

TREATED, FIRST, LAUNCH = "California", 1970, 1989
COVARIATES = ["loginc", "p_cig", "pct15-24", "pc_beer"]
LAGS = [1975, 1980, 1988]


def outcomes(table: pd.DataFrame) -> pd.DataFrame:
    """Return sales by state and year before the law."""
    wide = table.pivot(index="state", columns="year", values="cigsale")
    return wide.loc[:, FIRST : LAUNCH - 1]


def predictors(table: pd.DataFrame) -> pd.DataFrame:
    """Return the seven predictors by state, each in units of its standard deviation."""
    averages = table[table["year"].between(1980, 1988)].groupby("state")[COVARIATES].mean()
    every = averages.join(outcomes(table)[LAGS])
    return every / every.std()


def ours(table: pd.DataFrame, *, nested: bool) -> dict[str, float]:
    """Fit with this package, from the data frame."""
    from causalbench import Panel
    from causalbench.estimators.synthetic_control import SyntheticControl

    panel = Panel.from_table(
        table,
        unit="state",
        period="year",
        outcome="cigsale",
        treatment="Proposition 99",
        covariates=COVARIATES if nested else (),
    )
    options = {"match": "predictors", "predictor_window": (1980, 1988), "outcome_lags": tuple(LAGS)} if nested else {}
    fit = SyntheticControl(**options).fit(panel)
    return dict(zip(panel.units, fit.weights.tolist(), strict=True))


def pysyncon(table: pd.DataFrame, *, method: str, start: str, nested: bool = True) -> dict[str, float]:
    """Fit with pysyncon's ``Synth`` by one of its optimisers and starts; on outcomes alone every year is a predictor."""
    from pysyncon import Dataprep, Synth

    states = sorted(table["state"].unique())
    lags = [("cigsale", [year], "mean") for year in (LAGS if nested else range(FIRST, LAUNCH))]
    prepared = Dataprep(
        foo=table,
        predictors=COVARIATES if nested else [],
        predictors_op="mean",
        time_predictors_prior=range(1980, LAUNCH),
        special_predictors=lags,
        dependent="cigsale",
        unit_variable="state",
        time_variable="year",
        treatment_identifier=TREATED,
        controls_identifier=[state for state in states if state != TREATED],
        time_optimize_ssr=range(FIRST, LAUNCH),
    )
    synth = Synth()
    if nested:
        synth.fit(dataprep=prepared, optim_method=method, optim_initial=start)
    else:
        scale = np.var(
            outcomes(table).to_numpy(), axis=0, ddof=1
        )  # its predictors are standardised, sales aren't to be
        synth.fit(dataprep=prepared, custom_V=scale)
    return {str(state): float(weight) for state, weight in synth.weights(round=12).items()}


def scpi(table: pd.DataFrame) -> dict[str, float]:
    """Fit with scpi_pkg's simplex on outcomes."""
    from scpi_pkg.scdata import scdata
    from scpi_pkg.scest import scest

    prepared = scdata(
        df=table,
        id_var="state",
        time_var="year",
        outcome_var="cigsale",
        period_pre=np.arange(FIRST, LAUNCH),
        period_post=np.arange(LAUNCH, 2001),
        unit_tr=TREATED,
        unit_co=[state for state in sorted(table["state"].unique()) if state != TREATED],
    )
    found = scest(prepared, w_constr={"name": "simplex"})
    return {str(index[-1]): float(value) for index, value in found.w.iloc[:, 0].items()}


def simplex_by_slsqp(design: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Solve one simplex problem as CausalPy and most scripts do: root mean squared gap, numerical gradient, equal start."""
    from scipy.optimize import fmin_slsqp

    n = design.shape[1]
    return np.asarray(
        fmin_slsqp(
            lambda w: np.sqrt(((target - design @ w) ** 2).mean()),
            np.full(n, 1 / n),
            f_eqcons=lambda w: np.sum(w) - 1,
            bounds=[(0.0, 1.0)] * n,
            disp=False,
        )
    )


def slsqp(table: pd.DataFrame, *, nested: bool) -> dict[str, float]:
    """Fit by SLSQP, for predictors inside Nelder-Mead from equal importance."""
    from scipy.optimize import minimize

    sales, matched = outcomes(table), predictors(table)
    donors = [state for state in sales.index if state != TREATED]
    path, own = sales.loc[donors].T.to_numpy(), sales.loc[TREATED].to_numpy()
    if not nested:
        return dict(zip(donors, simplex_by_slsqp(path, own).tolist(), strict=True))
    traits, target = matched.loc[donors].T.to_numpy(), matched.loc[TREATED].to_numpy()

    def weights(v: np.ndarray) -> np.ndarray:
        root = np.sqrt(np.abs(v) / np.abs(v).sum())
        return simplex_by_slsqp(root[:, None] * traits, root * target)

    found = minimize(
        lambda v: ((own - path @ weights(v)) ** 2).mean(),
        np.full(len(traits), 1 / len(traits)),
        method="Nelder-Mead",
        options={"maxfev": 500},
    )
    return dict(zip(donors, weights(found.x).tolist(), strict=True))


NESTED: dict[str, Callable[[pd.DataFrame], dict[str, float]]] = {
    "causalbench": lambda table: ours(table, nested=True),
    "pysyncon, Nelder-Mead from equal": lambda table: pysyncon(table, method="Nelder-Mead", start="equal"),
    "pysyncon, Nelder-Mead from regression": lambda table: pysyncon(table, method="Nelder-Mead", start="ols"),
    "pysyncon, BFGS from equal": lambda table: pysyncon(table, method="BFGS", start="equal"),
    "pysyncon, BFGS from regression": lambda table: pysyncon(table, method="BFGS", start="ols"),
    "scipy, SLSQP in Nelder-Mead, 500 evaluations": lambda table: slsqp(table, nested=True),
}
PLAIN: dict[str, Callable[[pd.DataFrame], dict[str, float]]] = {
    "causalbench": lambda table: ours(table, nested=False),
    "pysyncon, every year a predictor": lambda table: pysyncon(table, method="", start="", nested=False),
    "scpi_pkg, simplex": scpi,
    "scipy, SLSQP": lambda table: slsqp(table, nested=False),
}


def pre_mspe(table: pd.DataFrame, weights: dict[str, float]) -> float:
    """Return the mean squared gap before the law, with weights made feasible."""
    sales = outcomes(table)
    share = np.array([max(weights.get(state, 0.0), 0.0) for state in sales.index if state != TREATED])
    gap = sales.loc[TREATED] - share / share.sum() @ sales.drop(index=TREATED)
    return float((gap**2).mean())


def measure_here(kind: str, name: str, path: str) -> None:
    """Run one program in this process and print what it took."""
    table = pd.read_csv(path)
    seconds, weights = [], {}
    for _ in range(2):
        start, cpu = time.perf_counter(), time.process_time()
        weights = (NESTED if kind == "nested" else PLAIN)[name](table.copy())
        seconds.append((time.perf_counter() - start, time.process_time() - cpu))
    print(
        json.dumps(
            {
                "mspe": pre_mspe(table, weights),
                "sum": sum(weights.values()),
                "first": seconds[0][0],
                "wall": seconds[1][0],
                "cpu": seconds[1][1],
            }
        )
    )


def row(kind: str, name: str, path: Path) -> str:
    """Measure one program in a process of its own and write its line."""
    command = [sys.executable, __file__, kind, name, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"| {name} | {(done.stderr.strip().splitlines() or ['no message'])[-1][:90]} | | | |"
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return f"| {name} | {found['mspe']:.5f} | {found['first']:.2f} | {found['wall']:.3f} | {found['cpu']:.3f} |"


def main() -> None:
    """Measure every program and write the table."""
    folder = os.environ.get("CAUSALBENCH_REFERENCE")
    if not folder:
        raise SystemExit("set CAUSALBENCH_REFERENCE to the folder of published reference data")
    path = Path(folder) / "sc" / "prop99_adh_predictors.csv"
    head = ["| program | pre-MSPE reached | first call, s | second call, s | its CPU, s |", "|---|---:|---:|---:|---:|"]
    lines = [
        "# Synthetic control beside its peers",
        "",
        f"pysyncon {version('pysyncon')}, scpi_pkg {version('scpi_pkg')}, scipy {version('scipy')}; one thread.",
        "Proposition 99, 38 donors; seconds from the data frame to the weights, in a process's first and second call.",
        "The mean squared gap of 1970-88 is computed here from each program's weights.",
        "",
        "## Seven predictors, their importance chosen",
        "",
        *head,
        *(row("nested", name, path) for name in NESTED),
        "",
        "## Outcomes alone",
        "",
        *head,
        *(row("plain", name, path) for name in PLAIN),
    ]
    text = "\n".join(lines) + "\n"
    (Path(__file__).parent / "results" / "synthetic_control_peers.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    if len(sys.argv) == 4:
        measure_here(*sys.argv[1:])
    else:
        main()
