"""The one sentence on top of a geo test's readout: which cells show an effect, and how far that may be believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from causalbench.artifacts import plain
from causalbench.errors import listing
from causalbench.geo.monitoring import Monitoring
from causalbench.geo.result import RANDOMIZATION, CellReadout, GeoResult, Measured, Tested
from causalbench.values import CheckResult, Interval, rejects
from causalbench.wording import counted, interval_text, number, percent

EXPLORATORY = "EXPLORATORY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What a cell's interim looks found.

    Attributes
    ----------
    cell
        Its name.
    monitoring, refusal
        The looks, or why they can't be counted.
    early
        Whether somebody looked before the end of the test.
    """

    cell: str
    monitoring: Monitoring | None
    refusal: str
    early: bool

    def said(self) -> dict[str, Any]:
        """Return plain JSON values, for the evidence."""
        found = None if self.monitoring is None else self.monitoring.to_dict()
        return {"cell": self.cell, "monitoring": found, "refusal": self.refusal}


def geo_headline(
    result: GeoResult,
    *,
    drawn: bool,
    deviations: Sequence[str],
    delivery_verdict: str | None,
    checks: Sequence[tuple[str, CheckResult]],
    notes: Sequence[str] = (),
    looked: Sequence[Looked] = (),
) -> dict[str, Any]:
    """Return verdict, sentence, reason and reservations for the first success metric of a geo test.

    Where interim looks were made and counted, the verdict is theirs: p-value and set are those adjusted for all looks, as who
    looks early and once more at the end rejects more often than who looks once.

    Parameters
    ----------
    drawn
        Whether the plan drew the markets at random.
    deviations
        What differs from the sealed plan.
    delivery_verdict
        Of the delivery check; None where nobody checked.
    checks
        Name of a cell and a check on the assumptions of the analysis there.
    notes
        What the reader must know about the test's window.
    looked
        Interim looks by cell; empty where nobody looked.
    """
    monitored = next((row.monitoring for row in looked if row.monitoring is not None), None)
    if monitored is not None:
        result = _of_looks(result, monitored)
    verdict = verdict_of(result)
    return {
        "metric": result.metric,
        "verdict": verdict,
        "stamp": EXPLORATORY if deviations else "",
        "sentence": _sentence(result, verdict),
        "answer": " ".join(_answer(cell, several=len(result.cells) > 1) for cell in result.cells),
        "why": _why(result, verdict, monitored),
        "assignment": _assignment(result, drawn=drawn),
        "reservations": [
            *_reservations(result, deviations, delivery_verdict, checks, notes),
            *_uncounted(looked),
        ],
    }


def _of_looks(result: GeoResult, monitored: Monitoring) -> GeoResult:
    """Return a result of one cell with p-value and set of its looks; the set of its return knows nothing of them."""
    (cell,) = result.cells
    tested = monitored.uncertainty
    effect = replace(cell.effect, p_value=tested.p_value, posterior_tail=None, interval=tested.interval)
    returned = None if cell.returned is None else replace(cell.returned, interval=None)
    detail = {key: value for key, value in cell.detail.items() if key != "iroas_interval"}
    cell = replace(cell, effect=effect, returned=returned, detail=detail)
    return replace(result, cells=(cell,), n_draws=monitored.n_draws)


def _uncounted(looked: Sequence[Looked]) -> list[dict[str, str]]:
    """Warn of looks that nothing accounts for."""
    reasons = dict.fromkeys(row.refusal for row in looked if row.early and row.monitoring is None)
    question = "Did somebody look before the end?"
    return [
        {
            "verdict": "review",
            "question": question,
            "reason": f"Yes, and p counts one look at the end: who may stop earlier rejects more often. Not counted: {reason}.",
        }
        for reason in reasons
    ]


def shown(effect: Tested, level: float) -> bool | None:
    """Tell whether an effect is shown, all cells' tests counted; None where there is no test and no set."""
    p, interval = decisive(effect)
    if p is not None:
        return rejects(p, level)
    if effect.posterior_tail is not None and interval is not None:
        return not interval.contains(0.0)
    return None if interval is None else not interval.contains(0.0)


def decisive(effect: Tested) -> tuple[float | None, Interval | None]:
    """Return the p-value and the set that decide: those for all cells at once where there are several."""
    if effect.adjustment == "none":
        return effect.p_value, effect.interval
    return effect.adjusted_p, effect.simultaneous


def verdict_of(result: GeoResult) -> str:
    """Judge a whole test: ``shown``, ``not shown``, ``misfit`` or ``not computed``."""
    known = [shown(cell.effect, result.level) for cell in result.cells]
    sets = [decisive(cell.effect)[1] for cell in result.cells]
    if all(value is None for value in known):
        return "not computed"
    if all(one is not None and one.empty for one in sets):
        return "misfit"
    if any(value and one is not None and not one.empty for value, one in zip(known, sets, strict=True)):
        return "shown"
    return "not shown" if not any(one is not None and one.empty for one in sets) else "misfit"


def _sentence(result: GeoResult, verdict: str) -> str:
    metric, level = result.metric, f"at the {100 * result.level:g}% level"
    several = len(result.cells) > 1
    level += f" for all {len(result.cells)} cells together" if several else ""
    if verdict == "not computed":
        return f"Whether the test had an effect on {metric} could not be computed."
    if verdict == "misfit":
        return f"No constant effect of the test on {metric} fits the data {level}."
    if verdict == "not shown":
        return f"An effect of the test on {metric} is not shown{' in any cell' if several else ''} {level}."
    names = [cell.cell for cell in result.cells if shown(cell.effect, result.level)]
    return f"An effect of the test on {metric} is shown{f' in {listing(names, limit=6)}' if several else ''} {level}."


def _answer(cell: CellReadout, *, several: bool) -> str:
    """Say a cell's lift, total, set and return in one or two sentences."""
    _, interval = decisive(cell.effect)
    per_market = f"{number(cell.effect.value, sign=True)} per market and period"
    total = "" if cell.incremental is None else f", {number(cell.incremental.value, sign=True)} in total"
    best = (
        f"{percent(cell.lift.value, sign=True)} ({per_market}{total})"
        if cell.lift is not None
        else f"{per_market}{total}"
    )
    text = f"{cell.cell}: {best}" if several else f"The best estimate is {best}"
    if interval is not None:
        level = f"{100 * interval.level:g}%"
        what = "effects per market and period compatible with the data at" if not several else "set at"
        text += f"; {what} {level}: {interval_text(plain(interval))}"
    returned = return_of(cell)
    if returned is not None:
        text += f"; {number(returned.value)} came back per unit of cost"
        if returned.interval is not None:
            text += f" ({interval_text(plain(returned.interval))})"
    return f"{text}."


def return_of(cell: CellReadout) -> Measured | None:
    """Return a cell's incremental return: the method's own where it reads the cost itself, else that of the readout."""
    own, interval = cell.detail.get("iroas"), cell.detail.get("iroas_interval")
    if own is None or cell.return_inference == RANDOMIZATION:
        return cell.returned
    return Measured(value=float(own), interval=interval if isinstance(interval, Interval) else None)


def _why(result: GeoResult, verdict: str, monitored: Monitoring | None) -> str:
    limit, level = 1 - result.level, f"{100 * result.level:g}%"
    tested = [(cell.cell, decisive(cell.effect)[0]) for cell in result.cells]
    known = [(name, p) for name, p in tested if p is not None]
    if not known:
        return "This inference gives no p-value; the verdict is whether its set leaves out zero."
    said = ", ".join(f"p = {p:.3g}" if len(result.cells) == 1 else f"{name} p = {p:.3g}" for name, p in known)
    said += "" if len(result.cells) == 1 else f" (adjusted for {len(result.cells)} cells)"
    if monitored is not None:
        last = monitored.looks[-1]
        said += f" (adjusted for {counted(len(monitored.planned), 'planned look')}, from the data up to {last.period})"
    if verdict == "misfit":
        return f"The test rejects every constant effect ({said} for none). Look at the effect by period."
    if verdict == "shown":
        return f"That nothing happened is rejected: {said}, where {level} allows {limit:.3g}."
    return (
        f"The data are compatible with no effect: {said}, where {level} asks for at most {limit:.3g}. That is not proof of no "
        "effect; effects as large as the set's ends are compatible too."
    )


def _assignment(result: GeoResult, *, drawn: bool) -> str:
    if result.randomized:
        return (
            f"The markets were drawn at random and treated as drawn; p-values count {result.n_draws:,} assignments of the "
            "same design, the actual one among them."
        )
    if drawn and result.inference == "sign-flip" and result.delivery is not None and result.delivery.still_random:
        return "The markets were drawn at random within pairs and treated as drawn; p-values flip the pairs."
    if drawn:
        return (
            'The markets were drawn at random, but the test wasn\'t delivered as drawn: the claim "randomized" is withdrawn. '
            "The effect is that of the plan (intention to treat)."
            if result.n_draws
            else "The markets were drawn at random, but the analysis doesn't use the design's draws; it rests on the method's "
            "assumptions."
        )
    return "The markets were chosen, not drawn at random; the comparison rests on the assumptions of the method."


def _reservations(
    result: GeoResult,
    deviations: Sequence[str],
    delivery_verdict: str | None,
    checks: Sequence[tuple[str, CheckResult]],
    notes: Sequence[str],
) -> list[dict[str, str]]:
    found = []
    if deviations:
        reason = f"{counted(len(deviations), 'difference')}, listed below."
        found.append({"verdict": "review", "question": "Is this the sealed analysis?", "reason": reason})
    if delivery_verdict in ("fail", "review"):
        reason = "See below what differs."
        found.append({"verdict": delivery_verdict, "question": "Was the test delivered as planned?", "reason": reason})
    several = len(result.cells) > 1
    every = [(cell.cell, cell.misfit) for cell in result.cells]
    if result.inference != RANDOMIZATION:  # a test over the design's draws needs no assumption about trends or donors
        every += checks
    found += [
        {
            "verdict": check.verdict,
            "question": f"{cell}: {check.question}" if several else check.question,
            "reason": check.reason,
        }
        for cell, check in every
        if check.verdict in ("fail", "review")
    ]
    return found + [{"verdict": "review", "question": "Which periods count?", "reason": note} for note in notes]


def switchback_headline(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return verdict, sentence, reason and reservations for the first success metric of a switchback.

    Parameters
    ----------
    found
        What :func:`causalbench.workflow.geo_switchback.analyse_switchback` found, as plain values.
    """
    result = next(result for result in found["results"] if result["role"] == "success")
    tested, limit, level = result["uncertainty"], 1 - found["level"], f"{100 * found['level']:g}%"
    interval, p = tested["interval"], tested["p_value"]
    empty = interval is not None and not interval["segments"]
    verdict = "misfit" if empty else "shown" if rejects(p, found["level"]) else "not shown"
    said = {
        "shown": f"An effect of the switchback on {result['metric']} is shown at the {level} level.",
        "not shown": f"An effect of the switchback on {result['metric']} is not shown at the {level} level.",
        "misfit": f"No constant effect of the switchback on {result['metric']} fits the data at the {level} level.",
    }
    write = percent if result["relative"] else number
    ends = [
        f"{write(a) if a is not None else 'unbounded below'} to {write(b) if b is not None else 'unbounded above'}"
        for a, b in (interval["segments"] if interval else ())
    ]
    best = f"The best estimate is {write(result['value'], sign=True)}"
    if result["incremental"] is not None:
        best += f", {number(result['incremental'], sign=True)} in total"
    checks = [*result["checks"], *([found["delivery"]] if found["delivery"] else [])]
    return {
        "metric": result["metric"],
        "verdict": verdict,
        "stamp": "",
        "sentence": said[verdict],
        "answer": f"{best}. Compatible with the data at {level}: {' or '.join(ends) or 'nothing'}.",
        "why": f"Among the design's own schedules p = {p:.3g} of no effect, where {level} rejects up to {limit:.3g}.",
        "assignment": "Who was on when was drawn at random; p-values count schedules of the same design.",
        "reservations": [
            {"verdict": check["verdict"], "question": check["question"], "reason": check["reason"]}
            for check in checks
            if check["verdict"] in ("fail", "review")
        ],
    }
