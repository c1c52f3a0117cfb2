r"""Difference-in-differences with one launch date."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from causalbench.data.panel import Panel
from causalbench.numerics.covariance import Arms, arms, small_sample
from causalbench.protocols import FEW_CLUSTERS, Requirements
from causalbench.values import EffectPath, EventStudy, Fit, FloatArray, IntArray, MethodCard

_BATCH = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Did:
    r"""Average effect on the treated by two-way fixed effects, for one launch date and a balanced panel.

    .. math:: y_{it} = \alpha_i + \lambda_t + \tau D_{it} + \varepsilon_{it}

    With one launch date and no missing cell the least-squares :math:`\hat\tau` is the difference of mean changes
    between treated and control units (Angrist and Pischke 2009, equation 5.2.3), with weights the difference of
    weighted means. The event study replaces :math:`\tau D_{it}` by one coefficient per event time, with the last period
    before the launch as the reference; with one launch date they are differences of mean changes from that period.

    Parameters
    ----------
    covariance
        ``CRV1``, ``CRV2`` or ``CRV3``, clustered by the panel's clusters, by unit where it has none. ``CRV2`` inflates
        residuals by their leverage and has Satterthwaite degrees of freedom (Bell, McCaffrey 2002; Pustejovsky, Tipton
        2018); ``CRV3`` is the cluster jackknife with G - 1 (CV3 of MacKinnon, Nielsen, Webb 2023). By default
        ``CRV2``, and ``CRV1`` where ``convention`` is named.
    convention
        Whose small-sample factor and degrees of freedom ``CRV1`` takes: ``fixest`` (the default), ``stata``, ``did`` or
        ``linearmodels``, as :func:`causalbench.numerics.covariance.small_sample` counts them. The other covariances
        have corrections of their own and take none.

    Notes
    -----
    Assumptions: without the launch both groups would have moved in parallel; no unit reacts before it, none to
    another's treatment. Don't use it when groups trended apart before the launch, or with several launch dates.

    The audit (:func:`causalbench.data.audit.audit`), which ``estimate`` runs first, refuses several launch dates.

    Below five treated or five control clusters the event study comes without covariance: it would be far too small.

    Raises
    ------
    ValueError
        When ``convention`` is named together with another covariance than ``CRV1``.

    Examples
    --------
    >>> import pandas as pd
    >>> from causalbench import Panel
    >>> table = pd.DataFrame({"geo": list("aabbcc"), "week": [1, 2] * 3, "sales": [5.0, 8.0, 4.0, 5.0, 6.0, 7.0]})
    >>> panel = Panel.from_table(table, unit="geo", period="week", outcome="sales", treated=["a"], start=2)
    >>> round(Did().fit(panel).effect, 6)
    2.0
    """

    covariance: Literal["CRV1", "CRV2", "CRV3"] | None = None
    convention: Literal["fixest", "stata", "did", "linearmodels"] | None = None

    requires: ClassVar[Requirements] = Requirements(
        min_control=1,
        min_pre=1,
        recommended_pre=3,
        max_cohorts=1,
        varying_controls=False,
        weights=True,
        clusters=True,
    )
    inferences: ClassVar[tuple[str, ...]] = ("cluster", "wild", "bootstrap", "permutation", "placebo")
    card: ClassVar[MethodCard] = MethodCard(
        title="Difference-in-differences (did)",
        summary="The change of the treated units' mean less the change of the control units' mean.",
        equation=r"\hat\tau = (\bar{y}_{1,\mathrm{post}} - \bar{y}_{1,\mathrm{pre}})"
        r" - (\bar{y}_{0,\mathrm{post}} - \bar{y}_{0,\mathrm{pre}})",
        std_error="clustered: CRV2 with Satterthwaite degrees of freedom; CRV3; CRV1 with the factor and quantiles of "
        "fixest, stata (both G/(G-1) times (NT-1)/(NT-R-T), t on G-1), did (no factor, normal) or linearmodels "
        "(NT/(NT-R-N-T+1), t on its denominator), with R = 1, or one per event time",
        assumptions=(
            "Without the launch, treated and control units would have changed in parallel.",
            "No unit reacts before the launch, and none to another unit's treatment.",
        ),
        not_when=(
            "The groups already moved apart before the launch.",
            "Units launched at different dates: early ones then serve as controls for late ones.",
        ),
        edge_cases=(
            "Two or more launch dates are refused.",
            "Missing cells need an explicit rule.",
            "Below five treated or control clusters the event study has no covariance.",
            "By default cluster-robust from five treated and five control clusters up, permutation below.",
        ),
        references=(
            (
                "Angrist, Pischke (2009), Mostly Harmless Econometrics, section 5.2",
                "https://doi.org/10.1515/9781400829828",
            ),
            (
                "Pustejovsky, Tipton (2018), Journal of Business and Economic Statistics 36, 672-683 (CRV2)",
                "https://doi.org/10.1080/07350015.2016.1247004",
            ),
            (
                "MacKinnon, Nielsen, Webb (2023), Journal of Applied Econometrics 38, 671-694 (CRV3)",
                "https://arxiv.org/abs/2301.04527",
            ),
        ),
    )

    def __post_init__(self) -> None:
        if self.convention is not None and self.covariance not in (None, "CRV1"):
            raise ValueError(f"convention belongs to covariance CRV1, {self.covariance} has corrections of its own")

    def sample(self, data: Panel) -> Panel:
        """Use every unit."""
        return data

    def fit(self, data: Panel) -> Fit:
        """Estimate the effect and the event study with their clustered covariances."""
        (paths,) = self.fit_many(data, data.first_treated[None])
        n_units, n_periods = data.outcome.shape
        if (n_units - 1) * (n_periods - 1) <= 1:
            return paths  # two units in two periods: an exact fit, which leaves nothing to estimate a variance from
        sides = arms(data.ever_treated, weights=data.weights, codes=data.cluster_codes, n_clusters=data.n_clusters)
        influence = sides.influence(self.changes(data)[:, None])
        covariance, df = self._covariance(data, sides, influence)
        return Fit(
            effect=paths.effect,
            path=paths.path,
            covariance=covariance if np.isfinite(covariance).all() else None,
            influence=influence[:, 0],
            event_study=self._event_study(data, sides),
            diagnostics={
                **paths.diagnostics,
                "baseline": "all",
                "n_clusters": data.n_clusters,
                "covariance": self._kind,
                "convention": (self.convention or "fixest") if self._kind == "CRV1" else None,
                "df": df,
            },
        )

    def fit_many(self, data: Panel, launches: IntArray) -> Iterator[Fit]:
        """Estimate the effect for many assignments by the difference of mean changes; no covariance."""
        n_periods = len(data.periods)
        weights = np.ones(len(data.units)) if data.weights is None else data.weights
        for start in range(0, len(launches), _BATCH):
            rows = np.asarray(launches[start : start + _BATCH])
            treated = rows < n_periods
            share = np.stack([treated * weights, ~treated * weights])
            share /= share.sum(axis=2, keepdims=True)
            observed, control = share @ data.outcome
            gaps, first = observed - control, rows.min(axis=1)[:, None]
            before = np.arange(n_periods) < first
            gaps -= (gaps * before).sum(axis=1, keepdims=True) / first
            effects = (gaps * ~before).sum(axis=1) / (n_periods - first[:, 0])
            pre_mspe = (gaps**2 * before).sum(axis=1) / first[:, 0]
            for i, effect in enumerate(effects.tolist()):
                path = EffectPath(periods=data.periods, observed=observed[i], counterfactual=observed[i] - gaps[i])
                yield Fit(effect=effect, path=path, diagnostics={"pre_mspe": float(pre_mspe[i])})

    def changes(self, data: Panel) -> FloatArray:
        """Return each unit's mean after less its mean before the launch; the effect is a difference of their means."""
        changes: FloatArray = data.outcome[:, data.n_pre :].mean(axis=1) - data.outcome[:, : data.n_pre].mean(axis=1)
        return changes

    def default_inference(self, data: Panel) -> str:
        """``cluster`` from five treated and five control clusters up, ``permutation`` below.

        With the default covariance this rejects 4.8, 4.2, 4.0, 4.6 and 4.3% of placebo laws in 25, 10, 5, 2 and 1 of 50 US
        states at nominal 5% (``benchmarks/cps_placebo_laws.py``).
        """
        return "cluster" if min(data.n_treated_clusters, data.n_control_clusters) >= FEW_CLUSTERS else "permutation"

    @property
    def _kind(self) -> Literal["CRV1", "CRV2", "CRV3"]:
        return self.covariance or ("CRV2" if self.convention is None else "CRV1")

    def _covariance(self, data: Panel, sides: Arms, influence: FloatArray) -> tuple[FloatArray, float]:
        """Return the covariance of the chosen kind, and the degrees of freedom of its t quantiles."""
        covariance = sides.covariance(influence, self._kind)
        if self._kind == "CRV2":
            return covariance, sides.satterthwaite()
        if self._kind == "CRV3":
            return covariance, data.n_clusters - 1.0
        factor, df = small_sample(
            self.convention or "fixest",
            n_units=len(data.units),
            n_periods=len(data.periods),
            n_regressors=influence.shape[1],
            n_clusters=data.n_clusters,
        )
        return factor * covariance, df

    def _event_study(self, data: Panel, sides: Arms) -> EventStudy:
        reference = data.n_pre - 1
        others = np.flatnonzero(np.arange(len(data.periods)) != reference)
        change = data.outcome[:, others] - data.outcome[:, [reference]]
        treated, control = sides.means(change)
        covariance, _ = self._covariance(data, sides, sides.influence(change))
        few = min(data.n_treated_clusters, data.n_control_clusters) < FEW_CLUSTERS
        return EventStudy(
            event_times=data.positions[others] - data.positions[data.n_pre],
            values=treated - control,
            covariance=np.full_like(covariance, math.nan) if few else covariance,
            n_treated=np.full(len(others), int(sides.treated.sum())),
            reference=int(data.positions[reference] - data.positions[data.n_pre]),
        )
