"""How often recalibrated intervals hold the truth: in families of simulated panels, and on published data.

``python benchmarks/recalibrated_coverage.py [panels] [families|data]`` writes ``benchmarks/results/recalibrated_coverage.md``
and ``recalibrated_coverage_data.md``. Data are read below the folder that CAUSALBENCH_REFERENCE names.
"""

from __future__ import annotations

import math
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from launch_laws import LAWS, panel_of

from causalbench.calibration.backtest import backtest
from causalbench.calibration.recalibrate import recalibrate, recalibrated
from causalbench.estimators import CATALOGUE as ESTIMATORS
from causalbench.numerics.block_error import Dependence
from causalbench.numerics.conformal_scale import spreads_beside_others
from causalbench.values import FloatArray

LEVEL = 0.95
METHODS = {
    "did": ESTIMATORS.create("did"),
    "synthetic-control, unit effects": ESTIMATORS.create("synthetic-control", {"fixed_effects": "unit"}),
}
DATA_METHODS = {
    **METHODS,
    "synthetic-control": ESTIMATORS.create("synthetic-control"),
    "synthetic-did": ESTIMATORS.create("synthetic-did"),
}
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Size of a panel and how many placebos its backtest draws."""

    n_units: int
    n_pre: int
    n_post: int
    n_treated: int = 1
    n_placebos: int = 120

    def __str__(self) -> str:
        return f"{self.n_treated} of {self.n_units}, {self.n_pre} + {self.n_post}"


SHAPES = (
    Shape(n_units=24, n_pre=90, n_post=10),
    Shape(n_units=31, n_pre=60, n_post=6),
    Shape(n_units=40, n_pre=90, n_post=15, n_treated=2),
    Shape(n_units=20, n_pre=48, n_post=8),
)
"""Panels of a family take turns in these."""

BROKEN = ("largest", "regimes")
"""Families in which the treated unit is unlike all others, or the history unlike the time of the launch."""

OTHERS = ("alike",)
"""Families that add nothing to ``parallel`` here."""


def one(family: str, draw: int) -> dict[str, tuple[float, float]]:
    """Return by method whether the interval holds no effect (NaN: no interval), and what its errors are worth."""
    shape = SHAPES[draw % len(SHAPES)]
    rng = np.random.default_rng([draw, *family.encode()])
    law = LAWS[family](rng, shape.n_units, shape.n_pre + shape.n_post)
    panel = panel_of(law(rng), n_treated=shape.n_treated, n_post=shape.n_post)
    found = backtest(panel, METHODS, duration=shape.n_post, n_placebos=shape.n_placebos, level=LEVEL, rng=rng)
    answers = {}
    for name, estimator in METHODS.items():
        (fit,) = estimator.fit_many(panel, panel.first_treated[None])
        answer = recalibrate(found, name, fit.effect)
        held = math.nan if answer.interval is None else float(answer.interval.contains(0.0))
        answers[name] = (held, answer.n_effective)
    return answers


def family_row(family: str, n_panels: int) -> str:
    draws = [one(family, draw) for draw in range(n_panels)]
    cells = [family]
    for name in METHODS:
        held, worth = np.array([draw[name] for draw in draws]).T
        given = held[~np.isnan(held)]
        share = given.mean()
        error = math.sqrt(share * (1 - share) / len(given))
        cells += [f"{100 * share:.1f} ({100 * error:.1f})", f"{np.median(worth):.0f}", f"{len(held) - len(given)}"]
    return f"| {' | '.join(cells)} |"


def families(n_panels: int) -> Iterator[str]:
    yield f"{n_panels} panels each, a quarter each of the sizes {'; '.join(map(str, SHAPES))}"
    yield "(treated of all units, periods before + after); about 120 placebos. Coverage in percent with its Monte Carlo error;"
    yield "`worth`: median number of independent errors that the placebos are worth; `none`: panels whose errors are too few for"
    yield "95%, which get no interval and are left out of the share. The last two families break an assumption: in `largest` the"
    yield "treated unit is unlike all others, in `regimes` most of the history is unlike the time of the launch;"
    yield f"{n_panels // 4} panels each."
    yield ""
    yield f"| family | {' | '.join(f'{name} | worth | none' for name in METHODS)} |"
    yield f"|---|{'---:|' * 3 * len(METHODS)}"
    for family in LAWS:
        if family not in (*BROKEN, *OTHERS):
            yield family_row(family, n_panels)
    for family in BROKEN:
        yield family_row(family, n_panels // 4)


def reference(*parts: str) -> Path:
    return Path(os.environ.get("CAUSALBENCH_REFERENCE", "")).joinpath(*parts)


def wide(table: pd.DataFrame, unit: str, period: str, outcome: str, *, drop: tuple[str, ...] = ()) -> pd.DataFrame:
    found = table.pivot_table(index=unit, columns=period, values=outcome).dropna(axis=1, how="all").dropna(axis=0)
    return found.drop(index=[name for name in drop if name in found.index])


def datasets() -> list[tuple[str, pd.DataFrame, tuple[int, ...], int]]:
    """Return outcomes of units that nothing was launched in, periods before placebo launches, and their duration."""
    cps = wide(pd.read_csv(reference("sc", "synthdid_CPS.csv"), sep=";"), "state", "year", "log_wage")
    penn = wide(pd.read_csv(reference("sc", "synthdid_PENN.csv"), sep=";"), "country", "year", "log_gdp")
    prop99 = pd.read_csv(reference("sc", "prop99_synthdid.csv"), sep=";")
    smoking = wide(prop99, "State", "Year", "PacksPerCapita", drop=("California",))
    basque = pd.read_csv(reference("sc", "basque_synth_R.csv"))
    regions = wide(basque, "regionname", "year", "gdpcap", drop=("Basque Country (Pais Vasco)", "Spain (Espana)"))
    cities = pd.read_csv(reference("geo", "geolift_test.csv"))
    sales = wide(cities, "location", "date", "Y", drop=("chicago", "portland"))
    return [
        ("CPS log wages", cps, (25, 30, 35), 5),
        ("Penn log GDP", penn, (28, 33, 38, 43), 5),
        ("Prop 99 packs per head", smoking, (19, 23, 27), 4),
        ("Basque GDP per head", regions, (15, 19, 23, 27, 31, 35, 39), 4),
        ("GeoLift sales", sales, (60, 75, 90), 15),
        ("Prop 99, as long as published", smoking, (19,), 12),
        ("Basque, as long as published", regions, (15,), 28),
    ]


def held(outcome: FloatArray, starts: tuple[int, ...], n_post: int) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Give each unit in turn a placebo launch at each date, and an interval from errors of *other* units before that date.

    Returns by method whether it holds no effect, in the order of dates and then units (NaN: no interval), and how many
    independent errors it rests on.
    """
    n = len(outcome)
    each = np.eye(n, dtype=bool)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in DATA_METHODS}
    for start in starts:
        panel = panel_of(outcome[:, : start + n_post], n_treated=1, n_post=n_post)
        rng = np.random.default_rng(start)
        # Every unit gets every window, so the placebos are the same whichever unit is taken as treated.
        tried = backtest(panel, DATA_METHODS, duration=n_post, n_placebos=6 * n, level=LEVEL, rng=rng)
        spread = spreads_beside_others(outcome[:, :start], each)
        for name, estimator in DATA_METHODS.items():
            fits = estimator.fit_many(panel, np.where(each, start, start + n_post))
            for unit, fit in enumerate(fits):
                others = ~(tried.launches[:, unit] < start)
                answer = recalibrated(
                    tried.errors[tried.index(name), others],
                    fit.effect,
                    level=LEVEL,
                    volatility=tried.volatility[:, others],
                    own_volatility=spread[:, unit],
                    dependence=tried.dependence.of_rows(others),
                )
                inside = math.nan if answer.interval is None else float(answer.interval.contains(0.0))
                found[name].append((inside, answer.n_effective))
    return {name: tuple(np.array(values).T) for name, values in found.items()}


def data_rows(title: str, outcome: pd.DataFrame, starts: tuple[int, ...], n_post: int) -> Iterator[str]:
    n = len(outcome)
    dependence = Dependence.of(np.tile(np.eye(n, dtype=bool), (len(starts), 1)), np.repeat(starts, n), duration=n_post)
    for name, (inside, worth) in held(outcome.to_numpy(float), starts, n_post).items():
        given = ~np.isnan(inside)
        size = f"{n} units, {len(starts)} of {n_post} periods"
        if not given.any():
            yield f"| {title} | {size} | {name} | none | | {np.median(worth):.0f} | {(~given).sum()} |"
            continue
        share, part = inside[given].mean(), dependence.of_rows(given)
        error = part.std_error(inside[given])
        error = error if math.isfinite(error) and error > 0 else math.sqrt(LEVEL * (1 - LEVEL) / part.n_blocks)
        apart = abs(share - LEVEL) / error
        cells = [title, size, name, f"{100 * share:.1f} ({100 * error:.1f})", f"{apart:.1f}"]
        yield f"| {' | '.join(cells)} | {np.median(worth):.0f} | {(~given).sum()} |"


def data() -> Iterator[str]:
    yield "Units that nothing was launched in, each in turn given a placebo launch at several dates that do not overlap. Its"
    yield "interval is made from errors of *other* units in windows before that date. Coverage in percent, with block Monte Carlo"
    yield "error (two-way by units and windows); `apart`: distance from 95% in such errors. `worth`: median number of independent"
    yield "errors behind an interval; `none`: placebos without interval, for want of errors. The last two have a post period of"
    yield "the published length, for which the history has no room: windows before are shorter, which the backtest says."
    yield ""
    yield "| data | placebos | method | coverage | apart | worth | none |"
    yield "|---|---|---|---:|---:|---:|---:|"
    for dataset in datasets():
        yield from data_rows(*dataset)


def write(name: str, title: str, part: Iterator[str]) -> None:
    lines = [f"# {title}", ""]
    for line in part:
        lines.append(line)
        print(line, flush=True)
    lines += ["", f"Python {platform.python_version()}, numpy {np.__version__}."]
    (RESULTS / f"{name}.md").write_text("\n".join(lines) + "\n", "utf-8")


def main() -> None:
    """Measure and write the tables."""
    n_panels = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    parts = sys.argv[2:] or ["families", "data"]
    if "data" in parts:
        write("recalibrated_coverage_data", "Coverage of recalibrated 95% intervals on published data", data())
    if "families" in parts:
        write("recalibrated_coverage", "Coverage of recalibrated 95% intervals", families(n_panels))


if __name__ == "__main__":
    main()
