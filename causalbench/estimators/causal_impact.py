r"""Bayesian structural time series: the treated mean continued from its own past and from its controls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from causalbench.data.panel import Panel
from causalbench.errors import DataError, listing
from causalbench.numerics.state_space import AUTOREGRESSIVE, LEVEL, Structure
from causalbench.numerics.structural_priors import learned_prior, r_prior
from causalbench.numerics.structural_time_series import Prior, StructuralDraws, draw_paths
from causalbench.protocols import Requirements
from causalbench.values import BoolArray, EffectPath, Fit, FloatArray, IntArray, MethodCard, Posterior
from causalbench.wording import counted

_R_LEVEL_SD = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class CausalImpact:
    r"""Average effect on the treated against a Bayesian forecast from their past and their controls.

    .. math::
        y_t = \mu_t + \tau_t + x_t'\beta + u_t + \varepsilon_t, \qquad \mu_{t+1} = \mu_t + \delta_t + \eta_t, \qquad
        \hat\tau = \frac1{T_1}\sum_{t > T_0}\bigl(y_t - E[y_t \mid y_1, \dots, y_{T_0}, x]\bigr)

    (Brodersen, Gallusser, Koehler, Remy, Scott 2015, equations 2.1 to 2.8). :math:`y` is the mean of the treated units,
    :math:`x` the donors and the treated units' means of the covariates, of which spike and slab choose; only periods before the
    launch are learned from.

    Parameters
    ----------
    compat
        ``none``: how much the series drifts is learned, from nothing to a random walk. ``r``: priors of R's CausalImpact
        1.4, which hold the level's standard deviation near ``level_sd`` of the series'; its intervals cover far too little
        when errors are autocorrelated (``benchmarks/results/bsts_coverage.md``).
    trend
        ``level``, or ``linear`` with a slope that moves too.
    noise
        ``white``: beside independent errors the level walks. ``ar1``: what lasts may also fade, with a learned persistence
        up to a random walk. By default ``ar1``, under ``compat="r"`` ``white``.
    seasons, season_duration
        Number of seasons of a cycle, 1 for none, and periods that each lasts.
    regression
        ``static`` coefficients, or ``dynamic`` ones that walk; then every donor is included.
    expected_model_size
        Expected number of donors that matter.
    level_sd
        R's ``prior.level.sd``, .01 by default; only under ``compat="r"``.
    draws
        Number of paths drawn.
    exclude
        Donors to leave out.
    seed
        Of the draws; the workflow sets it to the run's.

    Notes
    -----
    Assumptions: donors and covariates don't react to the launch; the relation to them and the way the series drifts last.
    Don't use it with donors that had launches of their own, or where the history is shorter than two seasons.

    Raises
    ------
    causalbench.errors.DataError
        When a donor has missing cells, or the treated mean is observed in too few periods or never varies before the launch.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from causalbench import Panel
    >>> time = np.arange(60.0)
    >>> values = {"shop": 2 * np.sin(time) + np.cos(7 * time) / 50 + 3 * (time >= 45), "market": np.sin(time)}
    >>> table = pd.DataFrame([(u, t, y) for u, ys in values.items() for t, y in enumerate(ys)], columns=["u", "t", "y"])
    >>> panel = Panel.from_table(table, unit="u", period="t", outcome="y", treated=["shop"], start=45)
    >>> round(CausalImpact().fit(panel).effect, 1)
    3.0
    """

    compat: Literal["none", "r"] = "none"
    trend: Literal["level", "linear"] = "level"
    noise: Literal["white", "ar1"] | None = None
    seasons: int = 1
    season_duration: int = 1
    regression: Literal["static", "dynamic"] = "static"
    expected_model_size: float = 3.0
    level_sd: float | None = None
    draws: int = 1000
    exclude: tuple[str, ...] = ()
    seed: int = 0

    requires: ClassVar[Requirements] = Requirements(
        min_control=0,
        min_pre=3,
        recommended_pre=30,
        max_cohorts=1,
        varying_controls=True,
        covariates="cell",
        missing_cells=True,
    )
    inferences: ClassVar[tuple[str, ...]] = ("posterior", "placebo-in-time")
    card: ClassVar[MethodCard] = MethodCard(
        title="Bayesian structural time series (causal-impact)",
        summary="The treated units' mean against its forecast from its own past and from the donors that predicted it.",
        equation=r"y_t = \mu_t + \tau_t + x_t' \beta + u_t + \varepsilon_t, \quad \mu_{t+1} = \mu_t + \delta_t + \eta_t, \quad "
        r"\hat\tau = \frac{1}{T_1} \sum_{t > T_0} \left( y_t - \mathrm{E}[y_t \mid y_1, \dots, y_{T_0}, x] \right)",
        std_error="standard deviation of the posterior of the average effect",
        assumptions=(
            "No donor and no covariate reacts to the launch; no donor had one of its own.",
            "The relation to the donors, the seasons and the way the series drifts last beyond the launch.",
        ),
        not_when=(
            "The history is shorter than two seasons, or than about thirty periods.",
            "Something else happened to the treated units alone at the launch.",
        ),
        edge_cases=(
            "Several treated units enter as their mean; a period in which one of them is missing counts as missing.",
            "Without donors and covariates the series is continued from its own past.",
            "Donors that don't vary before the launch are left out of the regression, donors with missing cells refused.",
            "compat = r uses the priors of R's CausalImpact, whose intervals are too narrow under autocorrelation.",
        ),
        references=(
            (
                "Brodersen, Gallusser, Koehler, Remy, Scott (2015), Annals of Applied Statistics 9, 247-274",
                "https://doi.org/10.1214/14-AOAS788",
            ),
            (
                "Durbin, Koopman (2002), Biometrika 89, 603-615 (simulation smoother)",
                "https://doi.org/10.1093/biomet/89.3.603",
            ),
        ),
    )

    def __post_init__(self) -> None:
        if self.compat == "r" and (self.trend != "level" or self.noise == "ar1"):
            raise ValueError(
                "R's CausalImpact has neither trend linear nor noise ar1; leave them out or leave compat out"
            )
        if self.compat == "r" and self.regression == "dynamic":
            raise ValueError("compat r covers static regression only; leave regression or compat out")
        if self.compat != "r" and self.level_sd is not None:
            raise ValueError("level_sd belongs to compat r; without it the level's variance is learned")
        if self.level_sd is not None and not self.level_sd > 0:
            raise ValueError("level_sd must be positive")
        if self.seasons < 1 or self.season_duration < 1:
            raise ValueError("seasons and season_duration must be at least 1")
        if not self.expected_model_size > 0:
            raise ValueError("expected_model_size must be positive")
        if self.draws < 2:
            raise ValueError("draws must be at least 2")

    def sample(self, data: Panel) -> Panel:
        """Leave out the excluded donors."""
        return data.without(self.exclude)

    def fit(self, data: Panel) -> Fit:
        """Draw the path without the launch; the effect is the posterior mean of the average over observed periods."""
        data = self.sample(data)
        pre = data.n_pre
        observed = _treated_mean(data)
        after = np.isfinite(observed)
        after[:pre] = False
        if not after.any():
            raise DataError("the treated mean is missing in every period after the launch", code="CB-D001")
        series, centre, spread = self._standardised(observed[:pre])
        names, controls, flat = _regressors(data)
        sizes = controls[:pre].std(axis=0, ddof=1)
        controls = (controls - controls[:pre].mean(axis=0)) / controls[:pre].std(axis=0, ddof=1)
        structure = self._structure(len(data.periods), controls)
        _require_every_season(structure, np.isfinite(series))
        prior = self._prior(structure, series, len(names))
        drawn = draw_paths(series, controls, structure, prior, n_draws=self.draws, rng=np.random.default_rng(self.seed))
        paths = centre + spread * drawn.paths
        counterfactual = paths.mean(axis=0)
        return Fit(
            effect=float((observed - counterfactual)[after].mean()),
            path=EffectPath(periods=data.periods, observed=observed, counterfactual=counterfactual),
            posterior=Posterior(draws=paths),
            n_cells=int(after.sum()) * data.n_treated,
            treated_mean=float(observed[after].mean()),
            diagnostics=_diagnostics(names, sizes, drawn, spread),
            warnings=_warnings(int((~np.isfinite(observed)).sum()), flat),
        )

    def default_inference(self, data: Panel) -> str:
        """``posterior``."""
        return "posterior"

    def _standardised(self, history: FloatArray) -> tuple[FloatArray, float, float]:
        known = history[np.isfinite(history)]
        needed = self.seasons + (self.trend == "linear") + 2
        if len(known) < needed:
            raise DataError(
                f"the treated mean is observed in {counted(len(known), 'period')} before the launch, {needed} are needed",
                code="CB-D014",
                remedy="add history before the launch, or choose fewer seasons",
            )
        spread = float(known.std(ddof=1))
        if spread <= 1e-12 * float(np.abs(known).max()):
            raise DataError(
                "the treated mean doesn't vary before the launch, so there is nothing to learn from",
                code="CB-D028",
                remedy="check that the metric is recorded before the launch",
            )
        return (history - known.mean()) / spread, float(known.mean()), spread

    def _structure(self, n_periods: int, controls: FloatArray) -> Structure:
        return Structure(
            n_periods=n_periods,
            linear=self.trend == "linear",
            autoregressive=self.compat == "none" and self.noise != "white",
            seasons=self.seasons,
            season_duration=self.season_duration,
            moving=controls if self.regression == "dynamic" else None,
        )

    def _prior(self, structure: Structure, series: FloatArray, n_controls: int) -> Prior:
        if self.compat == "r":
            return r_prior(
                structure,
                level_sd=_R_LEVEL_SD if self.level_sd is None else self.level_sd,
                start_level=float(series[np.isfinite(series)][0]),
                n_controls=n_controls,
                expected_model_size=self.expected_model_size,
            )
        inclusion = 1.0 if self.regression == "dynamic" else min(1.0, self.expected_model_size / max(n_controls, 1))
        return learned_prior(structure, n_pre=len(series), inclusion=inclusion)


def _treated_mean(data: Panel) -> FloatArray:
    """Mean of the treated units in an order of summation that their names have no part in; NaN where one is missing."""
    mean: FloatArray = np.sort(data.outcome[data.ever_treated], axis=0).mean(axis=0)
    return mean


def _donors(data: Panel) -> tuple[IntArray, tuple[str, ...]]:
    """Rows of the donors that vary before the launch, in an order that depends on their values only; names of the others."""
    rows = np.flatnonzero(~data.ever_treated)
    missing = np.isnan(data.outcome[rows]).any(axis=1)
    if missing.any():
        names = [data.units[row] for row in rows[missing]]
        raise DataError(
            f"{counted(len(names), 'donor')} with missing cells: {listing(names)}",
            code="CB-D001",
            remedy='exclude them, or choose on_missing = "impute" or "drop_unit"',
        )
    history = data.outcome[rows, : data.n_pre]
    varies = np.ptp(history, axis=1) > 1e-12 * np.abs(history).max(axis=1, initial=0.0)
    flat = tuple(data.units[row] for row in rows[~varies])
    rows = rows[varies]
    return rows[np.lexsort(data.outcome[rows].T[::-1])] if len(rows) else rows, flat


def _regressors(data: Panel) -> tuple[tuple[str, ...], FloatArray, tuple[str, ...]]:
    """Names and columns, shape (n_periods, n_regressors), of donors and of covariates' means over the treated units.

    Donors that don't vary before the launch are left out; their names come last.
    """
    rows, flat = _donors(data)
    names, columns = [data.units[row] for row in rows], [data.outcome[rows].T]
    means = data.covariates[data.ever_treated].mean(axis=0)
    for name, values in zip(data.covariate_names, means.T, strict=True):
        if np.isnan(values).any():
            raise DataError(
                f"covariate {name!r} is missing in {counted(int(np.isnan(values).sum()), 'period')} for a treated unit",
                code="CB-D042",
                remedy="fill it in, or leave this covariate out",
            )
        if np.ptp(values[: data.n_pre]) <= 1e-12 * np.abs(values[: data.n_pre]).max():
            raise DataError(
                f"covariate {name!r} never varies before the launch, so nothing can be learned of it",
                code="CB-D042",
                remedy="leave this covariate out",
            )
        names.append(name if name not in data.units else f"{name} (covariate)")
        columns.append(values[:, None])
    return tuple(names), np.hstack(columns), flat


def _require_every_season(structure: Structure, observed: BoolArray) -> None:
    starts = structure.starts[: len(observed)][observed]
    if structure.seasons > 1 and np.linalg.matrix_rank(starts) < starts.shape[1]:
        raise DataError(
            f"some of the {structure.seasons} seasons are never observed before the launch",
            code="CB-D014",
            remedy="add history before the launch, or choose fewer seasons",
        )


def _warnings(n_missing: int, flat: tuple[str, ...]) -> tuple[str, ...]:
    warnings = []
    if n_missing:
        warnings.append(f"{counted(n_missing, 'period')} without the mean of all treated units: not used")
    if flat:
        warnings.append(f"{counted(len(flat), 'donor')} without variation before the launch: {listing(flat)}; not used")
    return tuple(warnings)


def _diagnostics(names: tuple[str, ...], sizes: FloatArray, drawn: StructuralDraws, spread: float) -> dict[str, Any]:
    """What a reader needs to know about the model that was found; coefficients per unit of the donor or covariate."""
    level, autoregressive = drawn.ratios[:, LEVEL], drawn.ratios[:, AUTOREGRESSIVE]
    return {
        "inclusion_probability": dict(sorted(zip(names, drawn.inclusion.tolist(), strict=True))),
        "coefficients": dict(sorted(zip(names, (drawn.coefficients * spread / sizes).tolist(), strict=True))),
        "noise_sd": float(drawn.sigma.mean() * spread),
        "level_share": float((level / (1 + level + autoregressive)).mean()),
        "autoregressive_share": float((autoregressive / (1 + level + autoregressive)).mean()),
    }
