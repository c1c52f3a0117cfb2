r"""CausalImpact's call: data and two periods in; a table, a report, a picture and the numbers behind them out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np
import pandas as pd

from causalbench.errors import DataError, StudyError, listing, require_one_of
from causalbench.estimators.causal_impact import CausalImpact as Engine
from causalbench.facade import tables
from causalbench.facade.model_args import Compat, read_model_args
from causalbench.facade.text import Output, Story, Text, report_text, summary_text
from causalbench.facade.window import Window, label_text, read_window
from causalbench.inference.posterior import Posterior
from causalbench.values import Fit
from causalbench.values import Posterior as Paths
from causalbench.wording import counted

if TYPE_CHECKING:
    from causalbench.report.path_panels import Panel, PathPanels

# Percent of nominal 95% intervals that hold the average effect under independent, autoregressive (.7) and random-walk errors, the
# lowest over 1, 3 and 10 controls, stationary and random walks, rounded: benchmarks/results/bsts_coverage.md.
COVERAGE = {"none": (95, 93, 92), "r": (94, 54, 29)}
_SHORT = 30
_MEANING = {
    "none": "how much the series drifts is learned from it (compat='none')",
    "r": "those of R's CausalImpact 1.4, whose level hardly drifts (compat='r')",
}


class CausalImpact:
    """Effect of an intervention on one series, with the call of R's CausalImpact and of its Python ports.

    The engine is the method ``causal-impact``, which :func:`causalbench.estimate` offers with a panel, checks and a report.

    Parameters
    ----------
    data
        pandas, Polars or Arrow table or an array, one row per time point. The first column is the response, the others are
        controls that didn't react to the intervention; a first column called ``date`` or ``time`` becomes the index. The
        response may have missing values, controls may not. The index holds numbers or dates; rows count as one step apart.
    pre_period, post_period
        First and last label, ends included, of the rows to learn from and of those in which the effect is measured. Rows
        between the two are predicted and not counted.
    model_args
        Mapping with ``niter`` (number of draws), ``nseasons``, ``season_duration``, ``dynamic_regression``,
        ``prior_level_sd``; R's spelling with dots is read too. Unknown names are refused. ``ndraws`` is
        another name of ``niter``. ``standardize_data = True`` (or ``standardize``), ``max_flips``, ``nburn`` and ``fit_method``
        are read and change nothing, which the summary says of the last three.
    alpha
        The intervals are nominal ``1 - alpha``.
    compat
        ``none``: how much the series drifts is learned, the honest default. ``r``: the priors of R's CausalImpact 1.4, which
        reproduce its numbers; their intervals are far too narrow under autocorrelation. None: ``r`` where ``prior_level_sd``,
        a prior of R's, is given as a number; else ``none``. The summary says which it was and how often such intervals hold
        the effect.
    standardize, nseasons, prior_level_sd
        As pycausalimpact takes them; the same as in ``model_args``.
    seed
        Of the draws: the same seed gives the same numbers.

    Attributes
    ----------
    inferences
        One row per row of the data: ``response``, ``point_pred``, ``point_effect``, ``cum_effect``, ... as R's
        ``impact$series``, and the same numbers under the names that tfcausalimpact and pycausalimpact use.
    series
        R's columns alone.
    table
        R's ``impact$summary``: rows ``Average`` and ``Cumulative``; columns ``Actual``, ``Pred``, ``AbsEffect``, ...
    summary_data
        The same as the ports lay it out.
    p_value
        The name that the ports give to the one-sided posterior tail-area probability, R's ``p``. It isn't a p-value.
    inclusion_probability
        Of every control: the share of draws in which it is used.
    data, pre_data, post_data
        The rows given, learned from and measured.
    compat, alpha
        As used.
    fit
        The engine's own result.

    Raises
    ------
    DataError
        When data or periods can't be used.
    StudyError
        When an argument is unknown or impossible.

    Notes
    -----
    Differences to know. ``summary()`` returns the text, which a notebook shows; in a script print it. ``plot()`` returns a
    matplotlib figure and takes ``panels`` where R has ``metrics``. Models built with other programs (``bsts.model``,
    ``ucm_model``, ``model``) can't be run. The relative effect is averaged over draws, as in R's 1.4; a total that isn't
    surely positive has none.

    References
    ----------
    Brodersen, Gallusser, Koehler, Remy, Scott (2015), Annals of Applied Statistics 9, 247-274.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from causalbench import CausalImpact
    >>> rng = np.random.default_rng(1)
    >>> x = 100 + rng.normal(size=100).cumsum()
    >>> y = 1.2 * x + rng.normal(size=100)
    >>> y[70:] += 10
    >>> impact = CausalImpact(pd.DataFrame({"y": y, "x": x}), [0, 69], [70, 99])
    >>> round(impact.table.loc["Average", "AbsEffect"])
    10
    >>> impact.summary_data.round(1).loc[["actual", "abs_effect"]]
                average  cumulative
    actual        123.4      3700.8
    abs_effect      9.9       296.7
    """

    def __init__(
        self,
        data: Any,
        pre_period: Any,
        post_period: Any,
        model_args: Any = None,
        alpha: float = 0.05,
        *,
        compat: Compat | None = None,
        standardize: bool = True,
        nseasons: Any = None,
        prior_level_sd: float | None = None,
        seed: int = 0,
    ) -> None:
        _require_alpha(alpha)
        _require_whole("seed", seed, least=0)
        spelt = {"nseasons": nseasons, "prior_level_sd": prior_level_sd, "standardize": standardize}
        plain = {"nseasons": None, "prior_level_sd": None, "standardize": True}
        given = {key: value for key, value in spelt.items() if value is not plain[key]}
        settings = read_model_args(_with(model_args, given), compat=compat, seed=seed)
        window = read_window(data, pre_period, post_period)
        panel = window.panel()
        fit = settings.engine.fit(panel)
        found = Posterior().infer(settings.engine, panel, fit, level=1 - alpha, rng=np.random.default_rng(seed))
        draws = cast("Paths", fit.posterior).draws
        tail = cast("float", found.posterior_tail)
        self.alpha = float(alpha)
        self.compat = settings.engine.compat
        self.fit = fit
        self.data = window.data
        self.pre_data = window.rows.iloc[: window.n_pre]
        self.post_data = window.rows.iloc[window.start :]
        self.pre_period, self.post_period = _ends(self.pre_data), _ends(self.post_data)
        self.series = tables.series(window, draws, self.alpha)
        self.inferences = tables.inferences(self.series, window)
        self.table = tables.summary(window, draws, tail, self.alpha)
        self.summary_data = tables.summary_data(self.table)
        self.p_value = tail
        self.inclusion_probability = dict(fit.diagnostics["inclusion_probability"])
        self._story = _story(
            window, self.compat, (*_short(window, settings.engine), *_unused(window, fit), *settings.notes)
        )

    def __repr__(self) -> str:
        """Return the summary, as R prints it."""
        return str(self.summary())

    def run(self) -> None:
        """Do nothing: the model was fitted when it was made. It is here for scripts that call it, as causalimpact's do."""

    def summary(self, output: Output = "summary", digits: int = 2, width: int = 120) -> Text:
        """Return the summary table, or with ``output="report"`` the same in words.

        Parameters
        ----------
        output
            ``summary`` or ``report``.
        digits
            Decimal places; more are printed where the standard deviation would show fewer than two digits.
        width
            Of a line of the report.
        """
        require_one_of("output", output, get_args(Output))
        _require_whole("digits", digits, least=0)
        _require_whole("width", width, least=1)
        if output == "report":
            return report_text(self._rows(), self._story, digits=digits, width=width)
        return summary_text(self._rows(), self._story, digits=digits)

    def plot(
        self,
        panels: Sequence[Panel] = ("original", "pointwise", "cumulative"),
        figsize: tuple[float, float] = (10, 7),
    ) -> Any:
        """Return a matplotlib figure: observed and predicted response, their difference, and its sum since the intervention.

        Parameters
        ----------
        panels
            Which of ``original``, ``pointwise``, ``cumulative``, from top to bottom.
        figsize
            Width and height in inches.
        """
        from causalbench.report.path_panels import PANELS, figure

        for panel in panels:
            require_one_of("panel", panel, PANELS)
        if not panels:
            raise StudyError([f"panels is empty; name at least one of {', '.join(PANELS)}"], where="plot")
        return figure(self._paths(), panels, figsize=figsize)

    def _rows(self) -> dict[str, dict[str, float]]:
        return {str(name): {str(key): float(v) for key, v in row.items()} for name, row in self.table.iterrows()}

    def _paths(self) -> PathPanels:
        from causalbench.report.path_panels import PathPanels

        used = self.series.loc[self.pre_data.index[0] : self.post_data.index[-1]]
        after = used.index >= self.post_data.index[0]
        values = {name: used[name].to_numpy() for name in tables.SERIES}
        index = used.index
        return PathPanels(
            x=list(index.to_pydatetime()) if isinstance(index, pd.DatetimeIndex) else index.tolist(),
            observed=values["response"],
            predicted=values["point_pred"],
            lower=values["point_pred_lower"],
            upper=values["point_pred_upper"],
            cumulative=np.where(after, values["cum_effect"], np.nan),
            cumulative_lower=np.where(after, values["cum_effect_lower"], np.nan),
            cumulative_upper=np.where(after, values["cum_effect_upper"], np.nan),
            launch=self.post_data.index[0],
            level=1 - self.alpha,
            outcome=str(self.data.columns[0]),
        )


def _require_alpha(alpha: Any) -> None:
    if not isinstance(alpha, (int, float, np.number)) or isinstance(alpha, bool) or not 0 < alpha < 1:
        raise StudyError(
            [f"alpha is {alpha!r}, it must lie strictly between 0 and 1: 0.05 gives 95% intervals"],
            where="CausalImpact",
        )


def _require_whole(name: str, value: Any, *, least: int) -> None:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
        raise DataError(f"{name} is {value!r}", remedy=f"give a whole number from {least} up")


def _with(model_args: Any, spelt: dict[str, Any]) -> Any:
    """Add what was given as arguments of their own, as pycausalimpact takes them."""
    if not spelt or not isinstance(model_args, (dict, type(None))):
        return model_args
    twice = sorted(spelt.keys() & (model_args or {}).keys())
    if twice:
        raise StudyError(
            [f"{key} is given in model_args and beside it; give it once" for key in twice], where="model_args"
        )
    return {**(model_args or {}), **spelt}


def _ends(rows: pd.DataFrame) -> list[Any]:
    return [rows.index[0], rows.index[-1]]


def _story(window: Window, compat: str, notes: Sequence[str]) -> Story:
    response, rows = window.response, window.rows
    gap = window.start - window.n_pre
    missing = {
        "pre_period": int(np.isnan(response[: window.n_pre]).sum()),
        "post_period": int(np.isnan(response[window.start :]).sum()),
    }
    said = [
        f"the response is missing in {counted(n, 'row')} of {name}, not {'learned from' if name == 'pre_period' else 'counted'}"
        for name, n in missing.items()
        if n
    ]
    if gap:
        said.append(f"{counted(gap, 'row')} between pre_period and post_period are neither learned from nor counted")
    return Story(
        learned=_span(rows.iloc[: window.n_pre]),
        judged=_span(rows.iloc[window.start :]),
        priors=_priors(compat),
        notes=(*window.notes, *said, *notes),
    )


def _short(window: Window, engine: Engine) -> tuple[str, ...]:
    """Say where there is too little history to lean on what the summary says of coverage."""
    said = []
    known = int(np.isfinite(window.response[: window.n_pre]).sum())
    if known < _SHORT:
        said.append(
            f"pre_period holds {counted(known, 'row')} with a response, fewer than {_SHORT}: the drift is hardly learned "
            "from so few, the priors decide how wide the intervals are, and the coverage above wasn't measured there"
        )
    cycle = engine.seasons * engine.season_duration
    if engine.seasons > 1 and window.n_pre < 2 * cycle:
        said.append(
            f"pre_period holds {counted(window.n_pre, 'row')}, fewer than two cycles of {cycle}: what returns every cycle "
            "can't be told from what happened once, and a swing of the seasons may pass for an effect"
        )
    return tuple(said)


def _unused(window: Window, fit: Fit) -> tuple[str, ...]:
    """Say which controls the engine left out because they don't vary before the intervention."""
    used = fit.diagnostics["inclusion_probability"]
    flat = [name for name in map(str, window.data.columns[1:]) if name not in used]
    return (
        (f"{counted(len(flat), 'control')} without variation in pre_period: {listing(flat)}; not used",) if flat else ()
    )


def _priors(compat: str) -> str:
    independent, autoregressive, walking = COVERAGE[compat]
    return (
        f"Priors: {_MEANING[compat]}. On simulated series with 70 rows before and 30 after, 1 to 10 controls and no seasons, "
        f"nominal 95% intervals of the average effect held it in {independent}% under independent errors, {autoregressive}% "
        f"under autocorrelation of .7 and {walking}% under random walks (the lowest of six kinds of controls)."
    )


def _span(rows: pd.DataFrame) -> str:
    first, last = (label_text(label) for label in _ends(rows))
    return f"{counted(len(rows), 'row')} ({first} to {last})"
