"""Trimmed t: the studentized trimmed mean of pairs' residuals, inverted exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.random import Generator

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError
from causalbench.inference import _wald
from causalbench.inference._return import UNBOUNDED
from causalbench.numerics.covariance import t_p_value, t_quantile, t_tail
from causalbench.numerics.trimmed_pairs import Pairs, studentized, trimmed_set
from causalbench.protocols import ComparesPairs, Estimator
from causalbench.values import Fit, Interval, MethodCard, Uncertainty

_ENOUGH = 8
_TOO_SURE = (
    "compat = trimmed_match takes normal quantiles: a nominal 10% test rejects up to 26% of true nulls with 8 pairs, 19% with 15 "
    "and 14% with 30"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrimmedT:
    r"""Test of an effect, or of a return, by the studentized trimmed mean of what it leaves of the pairs' differences.

    .. math::
        T(\theta) = \frac{\sum_{i=m+1}^{n-m} e_{(i)}(\theta)}{\sqrt{\frac{h}{h-1} S_w(\theta)}} \approx t_{h-1}, \qquad h = n - 2m

    with :math:`S_w` the winsorized sum of squares (Tukey, McLaughlin 1963; Chen, Au 2022, equation 5.7, who take normal
    quantiles). The set of all effects with :math:`|T| \le q` is found piece by piece between the crossings of the
    :math:`e_i`, without a grid; it may be unbounded, where the incremental cost isn't clear of zero, or in several segments. The
    p-value of no effect is that of :math:`T(0)`.

    The t is for a number of pairs to trim that was fixed before: where the data choose it, a test at 10% rejects 12 to 18% of
    true nulls with 8 to 60 pairs, so ``trim = auto`` is refused here. With at least eight pairs kept a fixed number rejects 10
    to 11% of nulls with normal noise, 9 to 10% with that of a t on two degrees of freedom (40,000 draws, Monte Carlo error .2).

    Parameters
    ----------
    compat
        ``trimmed_match``: normal quantiles whatever the number of pairs and however it was chosen, as the package of that name
        has them; too short, and a warning says by how much. That package replaces sets wider than a million standard errors by
        three times the normal interval; here they stay unbounded.
    hurdle
        An incremental return to beat: ``detail.hurdle`` has one less the one-sided p-value of no more.

    Raises
    ------
    RefusalError
        For an estimator that compares no pairs or lets the data choose how many to trim, or with fewer than eight pairs kept of
        more.
    """

    compat: Literal["none", "trimmed_match"] = "none"
    hurdle: float | None = None

    card: ClassVar[MethodCard] = MethodCard(
        title="Trimmed t (trimmed-t)",
        summary="Which effects leave differences of pairs whose trimmed mean can't be told from zero?",
        equation=r"\left| \sum_{i=m+1}^{n-m} e_{(i)}(\theta) \right| \leq t_{h-1,\,1-\alpha/2} "
        r"\sqrt{\tfrac{h}{h-1} S_w(\theta)}, \quad h = n - 2m",
        std_error="root of the winsorized sum of squared residuals over the summed cost of the pairs kept; the interval doesn't "
        "use it",
        assumptions=("Residuals of the pairs are independent, with a middle that is symmetric about zero.",),
        not_when=(
            "The data choose how many pairs to trim: refused, use sign-flip.",
            "A handful of pairs: refused where some are trimmed and fewer than eight kept.",
        ),
        edge_cases=(
            "Sets may be unbounded or in several segments, and always hold the estimate.",
            "compat = trimmed_match takes normal quantiles.",
            "Residuals that don't vary give no interval and no p-value.",
        ),
        references=(
            (
                "Chen, Au (2022), Annals of Applied Statistics 16, 1-20, equation 5.7",
                "https://doi.org/10.1214/21-AOAS1493",
            ),
            ("Tukey, McLaughlin (1963), Sankhya A 25, 331-352", "https://www.jstor.org/stable/25049278"),
        ),
    )

    def infer(self, estimator: Estimator[Panel], data: Panel, fit: Fit, *, level: float, rng: Generator) -> Uncertainty:
        """Return p-value and set of one statistic; ``rng`` isn't used."""
        if not isinstance(estimator, ComparesPairs):
            raise RefusalError(f"{type(estimator).__name__} compares no pairs")
        pairs, per_ratio = estimator.pairs(data)
        n_trimmed = int(fit.diagnostics["n_trimmed"])
        warnings = self._require_fixed_trim(fit, pairs.n_pairs - 2 * n_trimmed)
        std_error = next(c["std_error"] for c in fit.diagnostics["candidates"] if c["n_trimmed"] == n_trimmed)
        if _wald.is_perfect(data, fit, std_error):
            return _wald.not_computed()
        df = math.inf if self.compat == "trimmed_match" else pairs.n_pairs - 2 * n_trimmed - 1.0
        ratios = trimmed_set(pairs, n_trimmed, quantile=t_quantile(level, df))
        scaled = tuple(tuple(sorted(per_ratio * end for end in ends)) for ends in ratios)
        segments = tuple((low, high) for low, high in sorted(scaled))
        bounded = bool(np.isfinite(segments).all())
        with_cost = fit.diagnostics.get("iroas") is not None
        return Uncertainty(
            interval=Interval(segments=segments, level=level, kind="confidence"),
            p_value=t_p_value(studentized(pairs, 0.0, n_trimmed), df),
            std_error=std_error,
            detail={
                "df": df if math.isfinite(df) else None,
                **(self._returns(pairs, n_trimmed, ratios, level=level, df=df) if with_cost else {}),
            },
            warnings=warnings if bounded else (*warnings, f"unbounded: {UNBOUNDED}"),
        )

    def _require_fixed_trim(self, fit: Fit, kept: int) -> tuple[str, ...]:
        chosen, trims = len(fit.diagnostics["candidates"]) > 1, int(fit.diagnostics["n_trimmed"]) > 0
        if self.compat == "trimmed_match":
            return (_TOO_SURE,) if chosen or kept < _ENOUGH else ()
        if chosen or (trims and kept < _ENOUGH):
            why = "the data chose how many pairs to trim" if chosen else f"{kept} pairs are kept, {_ENOUGH} are needed"
            raise RefusalError(
                f"trimmed-t would reject more than 11% of true nulls at 10%: {why}",
                code="CB-D015",
                remedy="use sign-flip, which counts that in; or fix trim, such as trim = 0.1, with more pairs",
            )
        return ()

    def _returns(
        self, pairs: Pairs, n_trimmed: int, ratios: tuple[tuple[float, float], ...], *, level: float, df: float
    ) -> dict[str, Any]:
        found: dict[str, Any] = {"iroas_interval": Interval(segments=ratios, level=level, kind="confidence")}
        if self.hurdle is not None:
            statistic = studentized(pairs, self.hurdle, n_trimmed)
            kept = pairs.kept(self.hurdle, n_trimmed)
            sign = 1 if float(pairs.cost[kept].sum()) > 0 else -1
            found["hurdle"] = {"iroas": self.hurdle, "probability": t_tail(-sign * statistic, df)}
        return found
