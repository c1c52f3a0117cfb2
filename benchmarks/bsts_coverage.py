"""How often credible intervals hold the average effect, and how wide they are, beside R's priors.

``python benchmarks/bsts_coverage.py`` simulates every cell and writes ``benchmarks/results/bsts_coverage.md``. The
controls of a cell are independent, normal or random walks; the treated series is 1.2, .5 and -.4 times the first three of
them plus noise with unit innovations: independent, autoregressive at .7, or a random walk. 70 periods come before the
launch and 30 after it; intervals are nominal 95%.
"""

from __future__ import annotations

import itertools
import math
import platform
import sys
import time
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from causalbench.data.panel import Panel
from causalbench.estimators.causal_impact import CausalImpact
from causalbench.inference.posterior import Posterior

Noise = Literal["iid", "ar", "walk"]
Kind = Literal["stationary", "walk"]

NOISES: tuple[Noise, ...] = ("iid", "ar", "walk")
KINDS: tuple[Kind, ...] = ("stationary", "walk")
NUMBERS = (1, 3, 10)
NAMES = {"iid": "independent", "ar": "AR(.7)", "walk": "random walk", "stationary": "stationary"}
COEFFICIENTS = (1.2, 0.5, -0.4)
N_PERIODS, N_PRE = 100, 70
EFFECT = 1.0
LEVEL = 0.95
REPEATS = 500


def draw_noise(noise: Noise, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw noise with unit innovations, shape (N_PERIODS,)."""
    shocks = rng.standard_normal(N_PERIODS)
    if noise == "walk":
        return shocks.cumsum()
    if noise == "ar":
        shocks[0] /= math.sqrt(1 - 0.7**2)
        for t in range(1, N_PERIODS):
            shocks[t] += 0.7 * shocks[t - 1]
    return shocks


def draw_panel(noise: Noise, kind: Kind, n_controls: int, seed: int) -> Panel:
    """Draw one treated series and its controls."""
    rng = np.random.default_rng([seed, NOISES.index(noise), KINDS.index(kind), n_controls])
    controls = rng.standard_normal((n_controls, N_PERIODS))
    if kind == "walk":
        controls = controls.cumsum(axis=1)
    series = draw_noise(noise, rng)
    for coefficient, control in zip(COEFFICIENTS, controls, strict=False):
        series = series + coefficient * control
    series[N_PRE:] += EFFECT
    treated = np.zeros((1 + n_controls, N_PERIODS), dtype=bool)
    treated[0, N_PRE:] = True
    return Panel(
        outcome=np.vstack([series, controls]),
        treated=treated,
        units=("treated", *(f"control {j:02d}" for j in range(n_controls))),
        periods=tuple(range(N_PERIODS)),
    )


def interval(estimator: CausalImpact, panel: Panel) -> tuple[float, float]:
    """Return the ends of the credible interval of the average effect."""
    found = (
        Posterior().infer(estimator, panel, estimator.fit(panel), level=LEVEL, rng=np.random.default_rng(0)).interval
    )
    if found is None:
        raise ValueError("the posterior gave no interval")
    return found.segments[0]


def measure(
    compat: Literal["none", "r"], noise: Noise, kind: Kind, n_controls: int, repeats: int
) -> tuple[float, float]:
    """Return coverage and mean width of one cell; every draw has a seed of its own."""
    panels = (draw_panel(noise, kind, n_controls, seed) for seed in range(repeats))
    ends = np.array([interval(CausalImpact(compat=compat, seed=seed), panel) for seed, panel in enumerate(panels)])
    covered = (ends[:, 0] <= EFFECT) & (ends[:, 1] >= EFFECT)
    return float(covered.mean()), float(np.ptp(ends, axis=1).mean())


def with_error(share: float, repeats: int) -> str:
    """Write a share with its Monte Carlo error."""
    return f"{share:.3f} ({math.sqrt(share * (1 - share) / repeats):.3f})"


def main(repeats: int = REPEATS) -> None:
    """Simulate every cell and write the table."""
    start = time.process_time()
    lines = [
        "# Coverage of the average effect by 95% credible intervals",
        "",
        f"{repeats} draws of {N_PRE} periods before and {N_PERIODS - N_PRE} after the launch; Monte Carlo errors in brackets.",
        'Width ratio: mean width of the default over that of `compat = "r"` on the same draws.',
        "",
        "| noise | controls | number | default | R's priors | width | width ratio |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for noise, kind, n_controls in itertools.product(NOISES, KINDS, NUMBERS):
        ours, width = measure("none", noise, kind, n_controls, repeats)
        theirs, theirs_width = measure("r", noise, kind, n_controls, repeats)
        shares = f"{with_error(ours, repeats)} | {with_error(theirs, repeats)}"
        lines.append(
            f"| {NAMES[noise]} | {NAMES[kind]} | {n_controls} | {shares} | {width:.2f} | {width / theirs_width:.2f} |"
        )
        print(lines[-1], flush=True)
    lines += ["", f"Python {platform.python_version()}, {time.process_time() - start:.0f} s of processor time."]
    (Path(__file__).parent / "results" / "bsts_coverage.md").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
