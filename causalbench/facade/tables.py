"""What a posterior says about a window, under the names that R's CausalImpact and its Python ports give the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from causalbench.facade.window import Window
from causalbench.values import FloatArray

SERIES = tuple(
    f"{name}{end}"
    for name in ("response", "cum_response", "point_pred", "cum_pred", "point_effect", "cum_effect")
    for end in (("",) if name.endswith("response") else ("", "_lower", "_upper"))
)
"""Columns of R's ``impact$series``, with underscores for dots."""

_PORTS = (
    ("complete_preds_means", "complete_preds", "point_pred"),
    ("preds", "preds", "point_pred"),
    ("post_preds_means", "post_preds", "point_pred"),
    ("post_preds", "post_preds", "point_pred"),
    ("post_cum_preds_means", "post_cum_preds", "cum_pred"),
    ("post_cum_pred", "post_cum_pred", "cum_pred"),
    ("point_effects_means", "point_effects", "point_effect"),
    ("point_effects", "point_effects", "point_effect"),
    ("post_cum_effects_means", "post_cum_effects", "cum_effect"),
    ("post_cum_effects", "post_cum_effects", "cum_effect"),
)
"""The ports' column of a mean, their prefix of its two ends, and the column of R's that holds the same number."""


def series(window: Window, draws: FloatArray, alpha: float) -> pd.DataFrame:
    """Return response, prediction and effect by row, with the columns of R's ``impact$series``.

    Parameters
    ----------
    window
        The rows used.
    draws
        Of the response without the launch, shape (n_draws, n_rows).
    alpha
        Bands lie between the quantiles ``alpha / 2`` and ``1 - alpha / 2`` of the draws.

    Returns
    -------
    pandas.DataFrame
        One row per row of the data, NaN outside the window. Sums run from the window's first row; until the post-period
        begins the predicted sum is the observed one, so that the summed effect is 0 there.
    """
    response, counted = window.response, window.counted
    point = _middle_and_ends(draws, alpha)
    cumulative = _known_sums(response)
    before = float(np.nansum(response[: window.start]))
    running = np.where(counted, draws, 0.0).cumsum(axis=1)
    cum_pred = before + _middle_and_ends(running, alpha)
    cum_pred[:, : window.start] = cumulative[: window.start]
    effect_so_far = before + np.where(counted, response, 0.0).cumsum()
    cum_effect = effect_so_far - cum_pred[[0, 2, 1]]
    cum_effect[:, : window.start] = 0.0
    values = [response, cumulative, *point, *cum_pred, *(response - point[[0, 2, 1]]), *cum_effect]
    table = pd.DataFrame(dict(zip(SERIES, values, strict=True)), index=window.rows.index)
    return table.reindex(window.data.index)


def inferences(by_row: pd.DataFrame, window: Window) -> pd.DataFrame:
    """Return R's columns, and the same numbers under the names of tfcausalimpact and pycausalimpact.

    Columns that begin with ``post_`` are NaN before the post-period, and their sums begin with it.
    """
    after = np.zeros(len(by_row), dtype=bool)
    after[window.first + window.start : window.last + 1] = True
    before = float(np.nansum(window.response[: window.start]))
    columns: dict[str, pd.Series[Any]] = {"post_cum_y": by_row["response"].where(after).cumsum()}
    for middle, prefix, ours in _PORTS:
        for name, end in ((middle, ""), (f"{prefix}_lower", "_lower"), (f"{prefix}_upper", "_upper")):
            values = by_row[f"{ours}{end}"]
            values = values - before if ours == "cum_pred" else values
            columns[name] = values.where(after) if name.startswith("post_") else values
    return pd.concat([by_row, pd.DataFrame(columns)], axis=1)


def summary(window: Window, draws: FloatArray, tail: float, alpha: float) -> pd.DataFrame:
    """Return R's ``impact$summary``: rows ``Average`` and ``Cumulative`` over the rows of the post-period with a response.

    ``Pred``, ``AbsEffect`` and ``RelEffect`` have a mean, the ends ``.lower`` and ``.upper`` of their interval and a
    standard deviation ``.sd``; ``p`` is the one-sided posterior tail-area probability. ``RelEffect`` is NaN where a draw of
    the total without the launch isn't positive, because a share of it then means nothing.
    """
    counted = window.counted
    average = draws[:, counted].mean(axis=1)
    actual = float(window.response[counted].mean())
    shares = actual / average - 1 if (average > 0).all() else np.full(len(average), np.nan)
    relative = _statistics("RelEffect", shares, alpha)
    rows = {}
    for name, times in (("Average", 1), ("Cumulative", int(counted.sum()))):
        rows[name] = {
            "Actual": times * actual,
            **_statistics("Pred", times * average, alpha),
            **_statistics("AbsEffect", times * (actual - average), alpha),
            **relative,
            "alpha": alpha,
            "p": tail,
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def summary_data(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table of :func:`summary` as the ports lay it out: rows ``actual`` ..., columns ``average``, ``cumulative``."""
    names: Mapping[str, str] = {
        "Actual": "actual",
        "Pred": "predicted",
        "Pred.lower": "predicted_lower",
        "Pred.upper": "predicted_upper",
        "AbsEffect": "abs_effect",
        "AbsEffect.lower": "abs_effect_lower",
        "AbsEffect.upper": "abs_effect_upper",
        "RelEffect": "rel_effect",
        "RelEffect.lower": "rel_effect_lower",
        "RelEffect.upper": "rel_effect_upper",
    }
    return table[list(names)].rename(columns=names, index=str.lower).T


def _statistics(name: str, draws: FloatArray, alpha: float) -> dict[str, float]:
    middle, lower, upper = _middle_and_ends(draws, alpha)
    return {
        name: float(middle),
        f"{name}.lower": float(lower),
        f"{name}.upper": float(upper),
        f"{name}.sd": float(draws.std(ddof=1)),
    }


def _middle_and_ends(draws: FloatArray, alpha: float) -> FloatArray:
    """Mean and the two quantiles over draws, shape (3, ...)."""
    found: FloatArray = np.stack([draws.mean(axis=0), *np.quantile(draws, [alpha / 2, 1 - alpha / 2], axis=0)])
    return found


def _known_sums(values: FloatArray) -> FloatArray:
    """Running sum of the known values, NaN where one is missing."""
    sums: FloatArray = np.where(np.isfinite(values), np.nancumsum(values), np.nan)
    return sums
