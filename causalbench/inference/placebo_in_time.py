"""Placebo test in time: the method is applied to launches that never were, at earlier dates of the same history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError
from causalbench.inference._dates import refit, require_one_date
from causalbench.inference._time import require_memory
from causalbench.numerics.gaps import rmspe_ratio
from causalbench.numerics.inversion import needed_draws
from causalbench.protocols import Estimator
from causalbench.values import Fit, FloatArray, Interval, MethodCard, Uncertainty

_MOST = 199
_HISTORY = 5
_OWN = 2
_SLACK = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceboInTime:
    r"""Rank of the effect among those of mock launches in the history.

    Each mock launch takes as many periods as the post period has, and is fitted on the periods **before it** only, as the
    real one is; the first keeps a fifth of the history to fit on. With their average effects :math:`m_1, \dots, m_K`,

    .. math:: p(\tau) = \frac{2 + \#\{k : |m_k| \ge |\hat\tau - \tau|\}}{2 + K},

    and the interval holds every effect with :math:`p > \alpha`: :math:`\hat\tau` plus and minus one of the
    :math:`|m_k|`. Mock launches at every date are used, at most 199 evenly spaced ones. The actual launch is counted twice,
    because mock launches overlap and the largest of K of them is nearer than that of K independent ones: counted once, a
    test at 5% rejects 8 to 11% of true nulls with 32 periods before and 8 after the launch, and one at 10% up to 15%
    (autocorrelation up to .5, 500 draws, Monte Carlo error 1.4).

    To fit on the periods before, and not on all of the history around a mock launch, holds the size better: a fit that
    knows both sides of a gap bridges it better than any fit reaches beyond its end. At nominal 10%, with 90 periods before
    and 15 after the launch and autocorrelation 0 / .5 / .8, ranks that count the actual launch once reject 12 / 13 / 16% of
    true nulls where the rest of the history is fitted on, and 9 / 8 / 11% with the periods before (250 to 300 draws).

    It works for every method that can be refitted to earlier periods, and looks at the treated unit alone. The
    placebo-in-time check asks the same question of a single mock launch with the method's own inference.

    Raises
    ------
    RefusalError
        With several launch dates, a history too short for two mock launches, an estimator with options bound to periods
        after one of them, or a gap before the launch that is too persistent.
    """

    card: ClassVar[MethodCard] = MethodCard(
        title="Rank among placebos in time (placebo-in-time)",
        summary="How large is the effect beside those of mock launches at every earlier date, each fitted on what came before?",
        equation=r"p(\tau) = \frac{2 + \# \{ k : |m_k| \geq |\hat\tau - \tau| \}}{2 + K}",
        std_error="none; the interval holds every constant effect that the test doesn't reject",
        assumptions=("Errors of the counterfactual behave alike before and after the launch (stationarity).",),
        not_when=(
            "Few periods: the smallest p is 2 / (mock launches + 2).",
            "Persistent gaps: refused where a nominal 10% test would reject more than 11% of the time.",
        ),
        edge_cases=(
            "Unbounded where there are too few mock launches for the level.",
            "The first fifth of the history is only fitted on.",
            "The actual launch counts twice, because mock launches overlap.",
            "A perfect fit before the launch has no errors to learn from: no interval and no p-value.",
        ),
        references=(
            (
                "Abadie, Diamond, Hainmueller (2015), American Journal of Political Science 59, 495-510, section 3",
                "https://doi.org/10.1111/ajps.12116",
            ),
        ),
    )

    def infer(self, estimator: Estimator[Panel], data: Panel, fit: Fit, *, level: float, rng: Generator) -> Uncertainty:
        """Return the p-value and the set inverted from the same ranks; ``rng`` isn't used."""
        require_one_date(data, "placebo-in-time")
        if rmspe_ratio(fit.path.effect, data.n_pre, spread=float(fit.path.observed.std())) is None:
            warning = "not computed: the fit before the launch is perfect, so its gap doesn't tell how errors behave"
            return Uncertainty(interval=None, p_value=None, warnings=(warning,))
        remembered = require_memory(data, fit, "placebo-in-time")
        mocks = np.abs(_mock_effects(estimator, data))
        total = len(mocks) + _OWN
        # The actual launch counts among those at least as extreme, whatever the effect.
        needed = needed_draws(level, total) - _OWN
        reach = float(np.sort(mocks)[::-1][needed - 1]) if needed > 0 else np.inf
        extreme = int((mocks >= abs(fit.effect) * (1 - _SLACK)).sum())
        smallest = _OWN / total
        warnings = []
        if needed <= 0:
            warnings.append(f"unbounded: {len(mocks)} mock launches allow no p below {smallest:.3g}")
        return Uncertainty(
            interval=Interval(segments=((fit.effect - reach, fit.effect + reach),), level=level, kind="placebo"),
            p_value=(_OWN + extreme) / total,
            detail={"n_mock_launches": len(mocks), "smallest_p": smallest, "persistence": remembered},
            warnings=tuple(warnings),
        )


def _mock_effects(estimator: Estimator[Panel], data: Panel) -> FloatArray:
    """Fit every mock launch on the periods before it; shape (n_mock_launches,)."""
    first = max(estimator.requires.min_pre, data.n_pre // _HISTORY)
    possible = np.arange(data.n_pre - data.n_post, first - 1, -1)
    if len(possible) < 2:
        raise RefusalError(
            f"{data.n_pre} periods before the launch leave no room for two mock launches of {data.n_post}",
            code="CB-D017",
            remedy="add history, or shorten the post period",
        )
    starts = possible[:: -(-len(possible) // _MOST)][::-1]  # options bound to later periods fail at the first
    when = np.arange(len(data.periods))
    effects = []
    for start in starts:
        earlier = data.only(periods=when < start + data.n_post)
        mock = earlier.assigned_to(data.ever_treated, start=int(start))
        effects.append(
            refit(estimator, mock, why=f"placebo-in-time puts a mock launch at {data.periods[start]}").effect
        )
    return np.array(effects)
