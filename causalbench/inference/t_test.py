"""A t-test for synthetic controls: blocks of the history are left out, and correct the bias of the weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError
from causalbench.inference import _wald
from causalbench.inference._dates import refit, require_one_date
from causalbench.inference._time import require_memory
from causalbench.protocols import Estimator
from causalbench.values import Fit, FloatArray, MethodCard, Uncertainty
from causalbench.wording import number


@dataclass(frozen=True, slots=True, kw_only=True)
class TTest:
    r"""t-test of the average effect with weights cross-fitted over blocks of the history.

    The last :math:`Kr` periods before the launch, :math:`r = \min(\lfloor T_0 / K \rfloor, T_1)`, form :math:`K`
    consecutive blocks :math:`H_k`. With weights :math:`\hat w_{(k)}` fitted to the history **without** block k,

    .. math::
        \hat\tau_k = \frac1{T_1} \sum_{t > T_0} \hat g_{(k)t} - \frac1r \sum_{t \in H_k} \hat g_{(k)t}, \qquad
        \hat\tau = \frac1K \sum_k \hat\tau_k, \qquad
        \widehat{se}^2 = \Bigl(1 + \frac{Kr}{T_1}\Bigr) \frac1{K (K - 1)} \sum_k (\hat\tau_k - \hat\tau)^2,

    where :math:`\hat g_{(k)t}` is the gap under these weights, and :math:`(\hat\tau - \tau) / \widehat{se}` is close to a t
    with K - 1 degrees of freedom (Chernozhukov, Wuthrich, Zhu, "Debiasing and t-tests for synthetic control inference
    on average causal effects", arXiv 1812.10820, section 3). Test and interval are around the **debiased** estimate
    :math:`\hat\tau`, which differs from the method's own; a warning gives both.

    Parameters
    ----------
    n_blocks
        K, at least 2. More blocks give shorter intervals and worse size; the authors recommend 3.

    Notes
    -----
    Assumptions: the gap under the limit of the weights is stationary with short memory, and both the history and the
    post period are long beside that memory. Don't use it with a handful of periods on either side, nor where the gap is
    persistent: blocks are then too alike, and such data are refused.

    Raises
    ------
    RefusalError
        With several launch dates, an estimator without donor weights or with options bound to periods that are left out, a
        history too short to leave a block out, or a gap before the launch that is too persistent.
    """

    n_blocks: int = 3

    card: ClassVar[MethodCard] = MethodCard(
        title="t-test with cross-fitted weights (t-test)",
        summary="Blocks of the history are left out of the fit in turn and correct its bias; few degrees of freedom make up "
        "for what is unknown about the noise.",
        equation=r"\hat\tau_k = \overline{g}_{(k),\,t > T_0} - \overline{g}_{(k),\,t \in H_k}, \quad "
        r"\frac{\hat\tau - \tau}{\widehat{\mathrm{se}}} \sim t_{K-1}",
        std_error="root of (1 + K r / T1) / K times the variance of the blocks' estimates",
        assumptions=(
            "The gap behaves alike before and after the launch, with a memory short beside both.",
            "A constant bias of the weights is the same before and after the launch.",
        ),
        not_when=(
            "A handful of periods on either side of the launch.",
            "Persistent gaps: refused where a nominal 10% test would reject more than 11% of the time.",
        ),
        edge_cases=(
            "The interval is around the debiased estimate; a warning gives it beside the method's own.",
            "With two degrees of freedom a 95% interval reaches 4.3 standard errors to each side.",
            "A standard error of zero gives no interval and no p-value.",
        ),
        references=(
            (
                "Chernozhukov, Wuthrich, Zhu (2026), Journal of Political Economy, forthcoming",
                "https://doi.org/10.1086/742424",
            ),
        ),
    )

    def __post_init__(self) -> None:
        if self.n_blocks < 2:
            raise ValueError(f"n_blocks is {self.n_blocks}, it must be at least 2")

    def infer(self, estimator: Estimator[Panel], data: Panel, fit: Fit, *, level: float, rng: Generator) -> Uncertainty:
        """Return debiased estimate, standard error, interval and p-value; ``rng`` isn't used."""
        require_one_date(data, "the t-test")
        estimates, length = self._estimates(estimator, data)
        debiased = float(estimates.mean())
        factor = 1 + self.n_blocks * length / data.n_post
        std_error = math.sqrt(factor * float(estimates.var(ddof=1)) / self.n_blocks)
        if _wald.is_perfect(data, fit, std_error):
            return _wald.not_computed()
        remembered = require_memory(data, fit, "t-test")
        interval, p_value = _wald.wald_interval(debiased, std_error, self.n_blocks - 1, level)
        warning = (
            f"interval and p-value are those of the debiased estimate {number(debiased)}, not of {number(fit.effect)}: "
            f"{self.n_blocks} blocks of {length} periods before the launch correct the bias of the weights"
        )
        return Uncertainty(
            interval=interval,
            p_value=p_value,
            std_error=std_error,
            detail={
                "debiased": debiased,
                "block_estimates": estimates.tolist(),
                "block_length": length,
                "df": float(self.n_blocks - 1),
                "persistence": remembered,
            },
            warnings=(warning,),
        )

    def _estimates(self, estimator: Estimator[Panel], data: Panel) -> tuple[FloatArray, int]:
        """Return the estimate of each block, shape (n_blocks,), and the length of a block."""
        length = min(data.n_pre // self.n_blocks, data.n_post)
        if length < 1 or data.n_pre - length < estimator.requires.min_pre:
            raise RefusalError(
                f"{data.n_pre} periods before the launch can't be left out in {self.n_blocks} blocks",
                code="CB-D017",
                remedy="add history, or use fewer blocks",
            )
        series = data.outcome - np.median(data.outcome, axis=0)
        level = series[data.ever_treated].mean(axis=0)
        when, found = np.arange(len(data.periods)), []
        for k in range(self.n_blocks):
            start = data.n_pre - (self.n_blocks - k) * length
            block = (when >= start) & (when < start + length)
            left_out = f"the t-test leaves out {data.periods[start]} to {data.periods[start + length - 1]}"
            weights = refit(estimator, data.only(periods=~block), why=left_out).weights
            if weights is None:
                raise RefusalError(f"{type(estimator).__name__} has no donor weights to carry to periods left out")
            gap = level - weights @ series
            found.append(float(gap[data.n_pre :].mean() - gap[block].mean()))
        return np.array(found), length
