"""One answer from treated units that were each fitted on their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from causalbench.data.panel import Panel
from causalbench.numerics.gaps import rmspe_ratio
from causalbench.values import EffectPath, Fit, FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnitFit:
    """One treated unit.

    Attributes
    ----------
    unit, launch
        Its name, and the index of its first treated period.
    gap
        Observed less counterfactual, shape (n_periods,).
    weights
        Shape (n_units,).
    diagnostics, warnings
        As in :class:`causalbench.values.Fit`.
    """

    unit: str
    launch: int
    gap: FloatArray
    weights: FloatArray
    diagnostics: Mapping[str, Any]
    warnings: tuple[str, ...]


def pooled(data: Panel, observed: FloatArray, parts: Sequence[UnitFit]) -> Fit:
    """Average over the treated cells; path and weights are means over the treated units, by calendar period.

    Parameters
    ----------
    observed
        Outcome of the treated units, in the order of the parts, shape (n_parts, n_periods).
    """
    launches = np.array([part.launch for part in parts])
    gaps, weights = np.stack([part.gap for part in parts]), np.stack([part.weights for part in parts]).mean(axis=0)
    after = np.arange(gaps.shape[1]) >= launches[:, None]
    level, gap, first = observed.mean(axis=0), gaps.mean(axis=0), int(launches.min())
    staggered = len(set(launches.tolist())) > 1
    warnings = tuple(dict.fromkeys(f"{part.unit}: {text}" for part in parts for text in part.warnings))
    if staggered:
        dates = len(set(launches.tolist()))
        said = (
            f"{dates} launch dates: the effect is the mean over treated cells, so units launched earlier count in more periods; "
            "the path is the mean over all treated units by calendar period, which until "
            f"{data.periods[int(launches.max())]} holds units not launched yet"
        )
        warnings = (*warnings, said)
    return Fit(
        effect=float(gaps[after].mean()),
        path=EffectPath(periods=data.periods, observed=level, counterfactual=level - gap),
        weights=weights,
        diagnostics={
            "pre_mspe": float((gap[:first] ** 2).mean()),
            "rmspe_ratio": None if staggered else rmspe_ratio(gap, first, spread=float(level.std())),
            "duality_gap": max(float(part.diagnostics["duality_gap"]) for part in parts),
            "effective_donors": float(1 / (weights**2).sum()),
            "by_unit": [
                {
                    "unit": part.unit,
                    "launch": data.periods[part.launch],
                    "effect": float(part.gap[part.launch :].mean()),
                    "weights": {
                        name: float(weight) for name, weight in zip(data.units, part.weights, strict=True) if weight > 0
                    },
                    **part.diagnostics,
                }
                for part in parts
            ],
        },
        warnings=warnings,
    )
