"""What donors are matched on besides the outcome's path: averages of covariates, lags of the outcome, other outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from causalbench.data.panel import Panel
from causalbench.errors import DataError, RefusalError, listing
from causalbench.values import FloatArray

Label = int | str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictors:
    """One number per unit and predictor.

    Attributes
    ----------
    names
        Names of the predictors: the covariate, or the outcome with its period.
    values
        Shape (n_units, n_predictors), each in units of its standard deviation over units.
    warnings
        What the reader must know about them.
    """

    names: tuple[str, ...]
    values: FloatArray
    warnings: tuple[str, ...]


def predictors_of(
    panel: Panel, series: FloatArray, launch: int, *, window: Sequence[Label], lags: Sequence[Label]
) -> Predictors:
    """Average the covariates over a window and take lags of the outcome.

    Parameters
    ----------
    panel
        Covariates by unit and period; missing cells are left out of averages.
    series
        Outcome that lags are taken of, shape (n_units, n_periods).
    launch
        Index of the first treated period; nothing from there on is looked at.
    window
        First and last period that covariates are averaged over; all before the launch when empty.
    lags
        Periods of the outcome, ``1975``, or spans to average over, ``1960..1969``.

    Raises
    ------
    DataError
        When a period doesn't exist, a unit has no value in the window, or there is no predictor.
    RefusalError
        When a period isn't before the launch.
    """
    if not (panel.covariate_names or lags):
        raise DataError(
            "match = predictors has nothing to match on",
            code="CB-D064",
            remedy="name covariates under [data] or with --covariates, or outcome_lags",
        )
    span = span_of(panel, window, launch, option="predictor_window")
    columns, warnings = [], []
    for name, cells in zip(panel.covariate_names, np.moveaxis(panel.covariates[:, span], 2, 0), strict=True):
        known = (~np.isnan(cells)).sum(axis=1)
        _require_value(panel, name, known, span)
        if (known < known.max()).any():
            fewer = [unit for unit, count in zip(panel.units, known, strict=True) if count < known.max()]
            warnings.append(
                f"covariate {name!r} has fewer values in {len(fewer)} units than in others: {listing(fewer)}; "
                "their averages are over what there is"
            )
        columns.append(np.nansum(cells, axis=1) / known)
    for lag in lags:
        ends = str(lag).split("..")
        between = span_of(panel, (ends[0], ends[-1]), launch, option="outcome_lags")
        columns.append(series[:, between].mean(axis=1))
    names = (*panel.covariate_names, *(f"{panel.metric} {lag}" for lag in lags))
    values = np.stack(columns, axis=1)
    spread = values.std(axis=0, ddof=1)
    flat = spread <= 1e-12 * np.abs(values).max(axis=0)
    if flat.any():
        same = [name for name, is_flat in zip(names, flat, strict=True) if is_flat]
        warnings.append(f"{listing(same)} has the same value in all units and says nothing")
    return Predictors(names=names, values=values / np.where(flat, 1.0, spread), warnings=tuple(warnings))


def span_of(panel: Panel, ends: Sequence[Label], launch: int, *, option: str) -> slice:
    """Return the periods from the first to the last of two labels; all before the launch when there are none.

    Raises
    ------
    DataError
        When a label is no period of the panel.
    RefusalError
        When the span reaches into the launch.
    """
    if not ends:
        return slice(0, launch)
    labels = [str(period) for period in panel.periods]
    unknown = [end for end in dict.fromkeys(map(str, ends)) if end not in labels]
    if unknown:
        raise DataError(
            f"{option} names {listing(unknown)}, the periods are {panel.periods[0]} to {panel.periods[-1]}",
            code="CB-D065",
            remedy=f"name existing periods in {option}",
        )
    first, last = labels.index(str(ends[0])), labels.index(str(ends[-1]))
    if first > last:
        raise DataError(
            f"{option} runs from {ends[0]} back to {ends[-1]}", code="CB-D065", remedy="name the earlier period first"
        )
    if last >= launch:
        raise RefusalError(
            f"{option} reaches to {ends[-1]}, the launch is at {panel.periods[launch]}: what happens after the launch "
            "can't say who is comparable",
            code="CB-D065",
            remedy=f"end {option} before the launch",
        )
    return slice(first, last + 1)


def shared_paths(panel: Panel, launch: int, *, centred: bool) -> FloatArray:
    """Put the paths of outcome and covariates before the launch side by side, each in units of its standard deviation.

    Parameters
    ----------
    panel
        The other outcomes that share the weights are its covariates.
    launch
        Index of the first treated period.
    centred
        Whether each series is taken about its own mean before the launch.

    Returns
    -------
    FloatArray
        Shape (n_units, n_outcomes * launch), divided by the root of the number of outcomes; the same whichever of them is the
        outcome.

    Raises
    ------
    DataError
        When there are no covariates, or one has missing cells before the launch.
    """
    if not panel.covariate_names:
        raise DataError(
            "match = shared has no other outcome to share weights with",
            code="CB-D064",
            remedy="name the other outcomes as covariates, under [data] or with --covariates",
        )
    outcomes = [panel.outcome[:, :launch]]
    for name, cells in zip(panel.covariate_names, np.moveaxis(panel.covariates[:, :launch], 2, 0), strict=True):
        _require_value(panel, name, np.where(np.isnan(cells).any(axis=1), 0, launch), slice(0, launch))
        outcomes.append(cells)
    paths: list[FloatArray] = []
    for cells in map(np.ascontiguousarray, outcomes):  # sums in one order, wherever the numbers lie
        path = cells - cells.mean(axis=1, keepdims=True) if centred else cells
        path = path - np.median(path, axis=0)
        spread = float(np.sqrt((path**2).mean()))
        paths.append(path / spread if spread > 0 else path)
    paths.sort(key=lambda path: path.tobytes())
    joined: FloatArray = np.hstack(paths) / np.sqrt(len(paths))
    return joined


def _require_value(panel: Panel, name: str, known: FloatArray, span: slice) -> None:
    empty = [unit for unit, count in zip(panel.units, known, strict=True) if not count]
    if empty:
        raise DataError(
            f"covariate {name!r} is missing in {len(empty)} units between {panel.periods[span.start]} and "
            f"{panel.periods[span.stop - 1]}: {listing(empty)}",
            code="CB-D063",
            remedy="fill it in, leave this covariate out, or exclude these units",
        )
