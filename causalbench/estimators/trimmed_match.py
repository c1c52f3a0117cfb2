r"""Trimmed match: pairs of units, the differences of the oddest of them left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from causalbench.data.panel import Panel
from causalbench.errors import DataError, RefusalError, listing
from causalbench.estimators._return import return_of
from causalbench.numerics.trimmed_pairs import (
    Pairs,
    TrimmedRatio,
    auto_counts,
    chosen_trim,
    n_trimmed_at,
    trimmed_ratio,
)
from causalbench.protocols import Requirements
from causalbench.values import EffectPath, Fit, FloatArray, IntArray, MethodCard

_NOTHING = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class TrimmedMatch:
    r"""Average effect on the treated, or incremental return, from pairs of one treated and one control unit each.

    With :math:`y_i` and :math:`x_i` the difference in mean outcome and in mean cost, from the launch on, between the treated and
    the control unit of pair i, the incremental return is the :math:`\theta` at which the trimmed mean of
    :math:`y_i - \theta x_i` is zero (Chen, Au 2022, equation 5.2):

    .. math:: \sum_{i = m + 1}^{n - m} e_{(i)}(\hat\theta) = 0, \qquad e_i(\theta) = y_i - \theta x_i

    The m pairs at either end of the order of :math:`e_i` are trimmed, so that a pair whose units drifted apart, or where
    something else happened, takes no part. ``value`` is :math:`\hat\theta` times the mean incremental cost of **all**
    pairs. Without a cost :math:`x_i = 1`, and ``value`` is the trimmed mean of the differences.

    Pairs come from the panel's clusters: each holds one treated and one control unit.

    Parameters
    ----------
    trim
        Share of pairs trimmed at either end, from 0 to below .5, rounded up to whole pairs; or ``auto``: of all up to .25 the
        smallest whose standard error is at most :math:`1 + 1 / (4 \sqrt n)` times the least.
    baseline
        ``none``: differences from the launch on, as published; ``pre``: less those before it, for pairs whose units differ in
        size.

    Notes
    -----
    Assumptions: within every pair chance decided who is treated, or the pair's units would have gone alike; all pairs have
    the same return. Don't use it with a handful of pairs, nor where the effect on the largest pairs is the question: they are
    trimmed first.

    Raises
    ------
    RefusalError
        Without clusters; when one isn't a pair; with too few pairs, or where no return makes the trimmed mean zero.
    DataError
        With a cost that the launch didn't change.

    Examples
    --------
    >>> import pandas as pd
    >>> from causalbench import Panel
    >>> differences = {"p": 4.0, "q": 5.0, "r": 6.0, "s": 90.0}
    >>> rows = [(pair + arm, pair, week, 10.0 + d * (arm == "1") * (week == 2)) for pair, d in differences.items()
    ...     for arm in "01" for week in (1, 2)]
    >>> table = pd.DataFrame(rows, columns=["geo", "pair", "week", "sales"])
    >>> treated = [pair + "1" for pair in differences]
    >>> panel = Panel.from_table(table, unit="geo", period="week", outcome="sales", cluster="pair", treated=treated, start=2)
    >>> TrimmedMatch(trim=0.25).fit(panel).effect
    5.5
    """

    trim: Literal["auto"] | Annotated[float, Field(ge=0, lt=0.5)] = "auto"
    baseline: Literal["none", "pre"] = "none"

    requires: ClassVar[Requirements] = Requirements(
        min_control=2,
        min_pre=1,
        recommended_pre=1,
        max_cohorts=1,
        varying_controls=False,
        clusters=True,
        cost=True,
    )
    inferences: ClassVar[tuple[str, ...]] = ("sign-flip", "trimmed-t")
    card: ClassVar[MethodCard] = MethodCard(
        title="Trimmed match (trimmed-match)",
        summary="Differences within pairs of a treated and a control unit, the pairs that stray most left out.",
        equation=r"\sum_{i = m + 1}^{n - m} e_{(i)}(\hat\theta) = 0, \quad e_i(\theta) = y_i - \theta x_i, \quad "
        r"\hat\tau = \hat\theta \, \bar x",
        std_error="root of the winsorized sum of squared residuals over the summed cost of the pairs kept",
        assumptions=(
            "Within every pair chance decided who is treated, or both units would have gone alike.",
            "All pairs have the same return, or without a cost the same effect.",
        ),
        not_when=(
            "A handful of pairs.",
            "The effect on the largest pairs is the question: they stray most and are trimmed first.",
        ),
        edge_cases=(
            "Pairs are clusters of one treated and one control unit; any other cluster is refused by name.",
            "Of several returns that solve the equation the one with the most symmetric middle of residuals is taken.",
            "Where trimming leaves pairs without incremental cost there is no return: refused.",
        ),
        references=(
            (
                "Chen, Au (2022), Annals of Applied Statistics 16, 1-20 (robust causal inference for incremental return)",
                "https://doi.org/10.1214/21-AOAS1493",
            ),
        ),
    )

    def sample(self, data: Panel) -> Panel:
        """Use every pair."""
        return data

    def fit(self, data: Panel) -> Fit:
        """Estimate the effect and, with a cost, the incremental return."""
        treated, control = _members(data)
        pairs, per_ratio = self.pairs(data)
        candidates = self._candidates(pairs)
        best = chosen_trim(pairs, candidates) if self.trim == "auto" else candidates[0]
        effect = best.ratio * per_ratio
        kept = pairs.kept(best.ratio, best.n_trimmed)
        gaps = self._centred(data, data.outcome[treated] - data.outcome[control])[kept].mean(axis=0)
        gaps *= per_ratio / float(pairs.cost[kept].mean())
        observed = data.outcome[data.ever_treated].mean(axis=0)
        left_out = np.setdiff1d(np.arange(pairs.n_pairs), kept)
        spent = return_of(data, effect, None if data.cost is None else float(self._costs(data).mean()))
        return Fit(
            effect=effect,
            path=EffectPath(periods=data.periods, observed=observed, counterfactual=observed - gaps),
            diagnostics={
                "n_pairs": pairs.n_pairs,
                "n_trimmed": best.n_trimmed,
                "trimmed": [pair_name(data, unit) for unit in treated[left_out].tolist()],
                "pre_mspe": float((gaps[: data.n_pre] ** 2).mean()),
                "candidates": [
                    {"n_trimmed": c.n_trimmed, "value": c.ratio * per_ratio, "std_error": c.std_error * abs(per_ratio)}
                    for c in candidates
                ],
                **spent.detail,
            },
            warnings=spent.warnings,
        )

    def pairs(self, data: Panel) -> tuple[Pairs, float]:
        """Return the differences of all pairs, and the effect per unit and period that a ratio of one stands for."""
        treated, control = _members(data)
        moved = self._centred(data, data.outcome[treated] - data.outcome[control])[:, data.n_pre :].mean(axis=1)
        if data.cost is None or not data.additive:
            return Pairs(response=moved, cost=np.ones(len(moved))), 1.0
        cost = self._costs(data)
        if abs(cost.mean()) <= _NOTHING * np.abs(data.cost).max():
            raise DataError(
                "the launch changed nothing in what was spent, so outcomes can't be explained by spend",
                code="CB-D067",
                remedy="leave the cost out to estimate the effect of the launch itself",
            )
        return Pairs(response=moved, cost=cost), float(cost.mean())

    def default_inference(self, data: Panel) -> str:
        """``sign-flip``, which counts in that the data chose how many pairs to trim."""
        return "sign-flip"

    def _costs(self, data: Panel) -> FloatArray:
        """Return each pair's difference in mean cost from the launch on, shape (n_pairs,)."""
        treated, control = _members(data)
        cells = np.zeros(data.outcome.shape) if data.cost is None else data.cost
        differences: FloatArray = self._centred(data, cells[treated] - cells[control])[:, data.n_pre :].mean(axis=1)
        return differences

    def _centred(self, data: Panel, differences: FloatArray) -> FloatArray:
        if self.baseline == "none":
            return differences
        centred: FloatArray = differences - differences[:, : data.n_pre].mean(axis=1, keepdims=True)
        return centred

    def _candidates(self, pairs: Pairs) -> tuple[TrimmedRatio, ...]:
        n = pairs.n_pairs
        counts = list(auto_counts(n)) if self.trim == "auto" else [n_trimmed_at(self.trim, n)]
        if n - 2 * counts[0] < 2:
            raise RefusalError(
                f"{n} pairs less {counts[0]} trimmed at either end leave {max(n - 2 * counts[0], 0)}, two are needed",
                code="CB-D017",
                remedy="trim less, or add pairs",
            )
        found = tuple(ratio for m in counts if (ratio := trimmed_ratio(pairs, m)) is not None)
        if not found:
            raise RefusalError(
                "no incremental return makes the trimmed mean zero: the pairs kept have no incremental cost together",
                code="CB-D017",
                remedy="trim less, or leave the cost out to estimate the effect of the launch itself",
            )
        return found


def pair_name(data: Panel, unit: int) -> str:
    """Return the label of a unit's pair."""
    return str(unit) if data.cluster is None else data.cluster[unit]


def _members(data: Panel) -> tuple[IntArray, IntArray]:
    """Return the treated and the control unit of every pair, ordered by the pairs' labels; shapes (n_pairs,)."""
    if data.cluster is None:
        raise RefusalError(
            "trimmed-match needs to know which units are a pair, the data have no clusters",
            code="CB-D015",
            remedy='name a column with a label of the pair: cluster = "pair" under [data], or --cluster pair',
        )
    codes, treated = data.cluster_codes, data.ever_treated
    n_treated, n_control = (np.bincount(codes[side], minlength=data.n_clusters) for side in (treated, ~treated))
    names = {int(code): name for code, name in zip(codes, data.cluster, strict=True)}
    odd = [
        f"{names[code]} ({n_treated[code]} treated, {n_control[code]} control)"
        for code in np.flatnonzero((n_treated != 1) | (n_control != 1)).tolist()
    ]
    if odd:
        raise RefusalError(
            f"trimmed-match takes pairs of one treated and one control unit, {len(odd)} clusters are none: {listing(odd)}",
            code="CB-D015",
            remedy="mend the labels, or remove the units of these pairs",
        )
    rows = np.argsort(codes, kind="stable")
    return rows[treated[rows]], rows[~treated[rows]]
