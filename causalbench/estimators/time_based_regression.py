r"""Time-based regression: the treated units' total on the controls' total, period by period."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from causalbench.data.panel import Panel
from causalbench.estimators._return import return_of
from causalbench.numerics.time_regression import TimeRegression, time_regression
from causalbench.protocols import Requirements
from causalbench.values import EffectPath, Fit, FloatArray, IntArray, MethodCard

_BATCH = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeBasedRegression:
    r"""Average effect on the treated from a regression of the treated group on the control group over time.

    Over the periods before the launch, with :math:`y_t` the total of the treated and :math:`x_t` that of the controls,

    .. math::
        y_t = \alpha + \beta x_t + \varepsilon_t, \quad t \le T_0, \qquad
        \hat\Delta = \sum_{t > T_0} (y_t - \hat\alpha - \hat\beta x_t)

    (Kerman, Wang, Vaver 2017, equations 1 to 5). ``value`` is :math:`\hat\Delta` per treated unit and period,
    ``detail.incremental`` :math:`\hat\Delta` itself. Means or rates have no totals: there the groups' means are regressed.

    A panel with a cost also gives ``detail.cost``, the **incremental** cost, by the same regression of what was spent, and
    ``detail.iroas``, the incremental return :math:`\hat\Delta / \hat C`. Where nobody spent anything before the launch,
    nothing would have been spent without it: the incremental cost then is what the treated spent, and is known.

    Parameters
    ----------
    exclude
        Control units to leave out.

    Notes
    -----
    Assumptions: the relation of both groups' totals is a line, the same before and after the launch; controls don't react.
    Don't use it where groups trade places (a promotion in the controls), nor with a handful of periods before the launch.
    Unlike synthetic controls it weighs no control by how well it fits, so that single odd controls matter by their size.

    Raises
    ------
    DataError, RefusalError
        By the audit: several launch dates, fewer than three periods before it, no control.

    Examples
    --------
    >>> import pandas as pd
    >>> from causalbench import Panel
    >>> rows = [("a", week, 2.0 * week + (5 if week > 4 else 0)) for week in range(1, 7)]
    >>> rows += [("b", week, float(week)) for week in range(1, 7)]
    >>> table = pd.DataFrame(rows, columns=["geo", "week", "sales"])
    >>> panel = Panel.from_table(table, unit="geo", period="week", outcome="sales", treated=["a"], start=5)
    >>> fit = TimeBasedRegression().fit(panel)
    >>> round(fit.effect, 6), round(fit.diagnostics["slope"], 6)
    (5.0, 2.0)
    """

    exclude: tuple[str, ...] = ()

    requires: ClassVar[Requirements] = Requirements(
        min_control=1,
        min_pre=3,
        recommended_pre=14,
        max_cohorts=1,
        varying_controls=False,
        cost=True,
    )
    affine_after_launch: ClassVar[bool] = True
    inferences: ClassVar[tuple[str, ...]] = ("predictive-t", "conformal", "placebo-in-time", "permutation")
    card: ClassVar[MethodCard] = MethodCard(
        title="Time-based regression (time-based-regression)",
        summary="The treated group's total against what its line on the control group's total, drawn before the launch, says.",
        equation=r"y_t = \alpha + \beta x_t + \varepsilon_t \ (t \leq T_0), \quad "
        r"\hat\tau = \frac{1}{N_1 T_1} \sum_{t > T_0} \left( y_t - \hat\alpha - \hat\beta x_t \right)",
        std_error="of the predicted sum: noise after the launch and of the line (predictive-t); else intervals from inverted "
        "tests",
        assumptions=(
            "Both groups' totals lie on one line over time, the same before and after the launch.",
            "The controls don't react to the launch.",
        ),
        not_when=(
            "The launch moved spend or demand in the controls.",
            "A handful of periods before the launch, or one that no longer resembles them.",
        ),
        edge_cases=(
            "Controls that never vary before the launch leave the treated group's own mean as the counterfactual.",
            "With a cost: its incremental part comes from the same regression; known where nobody spent before the launch.",
            "An incremental cost of zero has no return; a mean or a rate has no total, so no return either.",
        ),
        references=(
            (
                "Kerman, Wang, Vaver (2017), Estimating ad effectiveness in a time-based regression framework, Google",
                "https://research.google/pubs/pub45950/",
            ),
        ),
    )

    def sample(self, data: Panel) -> Panel:
        """Leave out the excluded controls."""
        return data.without(self.exclude)

    def fit(self, data: Panel) -> Fit:
        """Estimate the line, the effect and, with a cost, the incremental return."""
        data = self.sample(data)
        outcome, cost = self.regressions(data)
        effect = float(outcome.gap[data.n_pre :].mean())
        spent = return_of(data, effect, None if cost is None else float(cost.gap[data.n_pre :].mean()))
        flat = () if outcome.design.shape[1] > 1 else (_FLAT,)
        return Fit(
            effect=effect,
            path=EffectPath(
                periods=data.periods,
                observed=data.outcome[data.ever_treated].mean(axis=0),
                counterfactual=outcome.predicted,
            ),
            diagnostics={**_line(data, outcome), **spent.detail},
            warnings=(*flat, *_started_controls(data, cost), *spent.warnings),
        )

    def fit_many(self, data: Panel, launches: IntArray) -> Iterator[Fit]:
        """Fit the line of every assignment, all with one launch date; no cost."""
        launches = np.asarray(launches)
        pre = int(launches.min())
        if not np.isin(launches, (pre, len(data.periods))).all():
            raise ValueError("time-based regression takes one launch date, the same in every assignment")
        for start in range(0, len(launches), _BATCH):
            rows = launches[start : start + _BATCH] == pre
            observed = rows / rows.sum(axis=1, keepdims=True) @ data.outcome
            control = ~rows / (~rows).sum(axis=1, keepdims=True) @ data.outcome
            for series, regressor in zip(observed, control, strict=True):
                found = time_regression(series, regressor, pre)
                path = EffectPath(periods=data.periods, observed=series, counterfactual=found.predicted)
                quality = {"pre_mspe": float((found.residuals**2).mean())}
                yield Fit(effect=float(found.gap[pre:].mean()), path=path, diagnostics=quality)

    def regressions(self, data: Panel) -> tuple[TimeRegression, TimeRegression | None]:
        """Return the regression of the treated mean on the controls' and, where the panel has a cost, that of the cost."""
        groups = [cells for cells in (data.outcome, data.cost) if cells is not None]
        treated = data.ever_treated
        found = [
            time_regression(cells[treated].mean(axis=0), cells[~treated].mean(axis=0), data.n_pre) for cells in groups
        ]
        return found[0], found[1] if len(found) > 1 else None

    def null_residuals(self, data: Panel, effects: FloatArray) -> FloatArray:
        """Residuals over all periods when each constant effect is taken off the post period and the line drawn again."""
        data = self.sample(data)
        treated, n_periods = data.ever_treated, len(data.periods)
        control = data.outcome[~treated].mean(axis=0)
        whole = time_regression(data.outcome[treated].mean(axis=0), control, n_periods).gap
        post = time_regression((np.arange(n_periods) >= data.n_pre).astype(float), control, n_periods).gap
        residuals: FloatArray = whole - np.asarray(effects, dtype=float)[:, None] * post
        return residuals

    def default_inference(self, data: Panel) -> str:
        """``predictive-t``, which refuses gaps that are too persistent for it."""
        return "predictive-t"


_FLAT = "the controls don't vary before the launch: the counterfactual is the treated group's own mean before it"


def _line(data: Panel, found: TimeRegression) -> dict[str, Any]:
    """Return slope and intercept, of totals where outcomes add up."""
    treated, control = (data.n_treated, data.n_control) if data.additive else (1, 1)
    return {
        "slope": found.slope * treated / control,
        "intercept": found.intercept * treated,
        "pre_mspe": float((found.residuals**2).mean()),
    }


def _started_controls(data: Panel, cost: TimeRegression | None) -> tuple[str, ...]:
    """Say where controls spend after the launch what nobody spent before: the line knows nothing of it."""
    if data.cost is None or cost is None or data.cost[:, : data.n_pre].any():
        return ()
    spent = float(data.cost[~data.ever_treated].sum())
    if spent == 0:
        return ()
    warning = (
        f"the controls spent {spent:.6g} from the launch on, though nobody spent before it: the incremental cost counts what "
        "the treated spent in full"
    )
    return (warning,)
