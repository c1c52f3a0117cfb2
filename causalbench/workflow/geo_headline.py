"""What a geo design says first: which markets, how long, what the test could detect, and what would help where it can't."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from causalbench.errors import listing
from causalbench.wording import counted, number, percent

_WRITTEN_OUT = 1e9
_NOTHING = 1e-6


def headline(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Write verdict, sentence, answer, reason and, where the power isn't reached, what would help."""
    chosen, geo = evidence["chosen"], evidence["study"]["geo"]
    powered = bool(chosen["reaches"] and chosen["within_budget"])
    verdict = "not powered" if not powered else "powered" if chosen["believable"] else "review"
    return {
        "verdict": verdict,
        "metric": evidence["history"]["metric"],
        "sentence": _sentence(evidence, powered=powered),
        "answer": _answer(evidence),
        "why": _why(evidence),
        "size": size_line(evidence),
        "help": [] if powered else _what_would_help(evidence),
        "assignment": _assignment(evidence),
        "gap": gap_line(chosen["detail"]),
        "kind": {
            "holdback": "It runs in the treated markets only.",
            "heavy-up": "The treated markets get more of it.",
            "go-dark": "It is switched off in the treated markets, so a loss is looked for.",
        }[geo["kind"]],
    }


def warnings_of(evidence: Mapping[str, Any]) -> list[str]:
    """Say what the reader must know about the design."""
    found = []
    periods, chosen = evidence["periods"], evidence["chosen"]
    if periods["n_windows"] < periods["n_windows_wanted"]:
        found.append(
            f"The history holds {periods['n_windows']} windows that the search hasn't seen, the study asks for "
            f"{periods['n_windows_wanted']}: power is known less exactly."
        )
    found += [f"The split breaks a rule of the study: {sentence}" for sentence in chosen["violations"]]
    found += [
        f"Without any effect the planned test of cell {row['cell']} over {row['duration']} periods finds one in "
        f"{percent(row['size'])} of the windows (Monte Carlo error {percent(row['size_mc_error'])}), more than the "
        f"{percent(1 - evidence['study']['geo']['level'])} it promises: the test isn't to be believed as it is."
        for row in evidence["power"]
        if not row["believable"]
    ]
    found += [
        f"The planned inference refuses to answer on {row['n_refused']} of {row['n_windows']} windows of cell {row['cell']} over "
        f"{row['duration']} periods; no effect is found there: {evidence['planned_analysis']['estimator']} with "
        f"{evidence['planned_analysis']['inference']} may not suit this split."
        for row in evidence["power"]
        if row["n_refused"]
    ]
    if evidence["selector"]["randomized"] and evidence["power_over"] == "time":
        found.append(
            "The markets are drawn, and the planned test counts over the draws; with several cells, or markets that take turns "
            "in being left out, power is measured along time instead, which stands in for it."
        )
    unknown = (evidence["map"] or {}).get("unknown", [])
    if unknown:
        found.append(f"{counted(len(unknown), 'market')} can't be found on the map: {listing(unknown)}.")
    return found + [
        f"{finding['code']}: {finding['message']}; {finding['action']}"
        for finding in evidence["history"]["findings"]
        if finding["severity"] == "warning"
    ]


def size_line(evidence: Mapping[str, Any]) -> str:
    """Say how often the planned test finds an effect where there is none, at the chosen duration."""
    level, duration = evidence["study"]["geo"]["level"], evidence["chosen"]["duration"]
    parts = []
    for row in evidence["power"]:
        if row["duration"] == duration:
            cell = f"cell {row['cell']}: " if len(evidence["chosen"]["cells"]) > 1 else ""
            parts.append(f"{cell}{percent(row['size'])} (Monte Carlo error {percent(row['size_mc_error'])})")
    rows = [row for row in evidence["power"] if row["duration"] == duration]
    few, windows = min(row["n_effective"] for row in rows), min(row["n_windows"] for row in rows)
    worth = f", worth {few:.1f} independent ones" if few < windows - 0.5 else ""
    drawn = f"{counted(len(rows[0]['required']), 'draw')} over " if evidence["power_over"] == "draws" else ""
    return (
        f"A/A test on {drawn}{counted(windows, 'window')} without any effect{worth}, nominal size {percent(1 - level)}: "
        f"{'; '.join(parts)}. {_SIZE_WORDS[_worst(rows)]}"
    )


_SIZE_WORDS = {
    "pass": "That passes.",
    "not_evaluable": "That is too few windows to tell a sound test from one with twice the false alarms: no pass.",
    "review": "That is more than chance explains.",
}


def _worst(rows: Sequence[Mapping[str, Any]]) -> str:
    verdicts = {row["size_verdict"] for row in rows}
    return next(verdict for verdict in ("review", "not_evaluable", "pass") if verdict in verdicts)


def markets_text(cells: Mapping[str, Any]) -> str:
    """Name the treated markets, by cell where there are several."""
    if len(cells) == 1:
        return listing(next(iter(cells.values())), limit=6)
    return "; ".join(f"{name}: {listing(members, limit=6)}" for name, members in cells.items())


def _sentence(evidence: Mapping[str, Any], *, powered: bool) -> str:
    chosen, history, geo = evidence["chosen"], evidence["history"], evidence["study"]["geo"]
    period = "period" if history["frequency"] in ("number", "irregular") else history["frequency"]
    what = f"{markets_text(chosen['cells'])} for {counted(chosen['duration'], period)}"
    aim = f"power {geo['power']:g}"
    if powered:
        worthwhile = geo["smallest_worthwhile_effect"]
        effect = chosen["mde"] if worthwhile is None or chosen["mde"] is not None else worthwhile
        if not chosen["believable"]:
            return f"Review: {what} would detect effects with {aim}, but the planned test raises too many false alarms there."
        return f"Treat {what}: an effect of {percent(effect)} on {history['metric']} would be detected with {aim}."
    return f"Not powered: the best design found treats {what} and doesn't reach {aim} within the study's limits."


def _answer(evidence: Mapping[str, Any]) -> str:
    chosen, geo = evidence["chosen"], evidence["study"]["geo"]
    parts = []
    if chosen["mde"] is None:
        parts.append("No effect that was tried is detected with that power in every cell")
    else:
        incremental = [row["incremental"] for row in evidence["power"] if row["duration"] == chosen["duration"]]
        metric = evidence["history"]["metric"]
        total = "" if None in incremental else f", {number(sum(incremental))} {metric} in total"
        what = "loss" if geo["kind"] == "go-dark" else "gain"
        parts.append(f"The smallest {what} detected with that power is {percent(chosen['mde'])}{total}")
    if chosen["investment"] is not None:
        words = {"holdback": "costs", "heavy-up": "costs, on top of the usual,", "go-dark": "withholds"}[geo["kind"]]
        limit = _budget_text(geo["budget"])
        parts.append(f"an effect of that size {words} {number(chosen['investment'])}{limit}")
    if chosen["power_at_worthwhile"] is not None:
        worthwhile = percent(geo["smallest_worthwhile_effect"])
        parts.append(
            f"at {worthwhile}, the smallest worthwhile effect, the power is {percent(chosen['power_at_worthwhile'])}"
        )
    if chosen["cost_of_delay"] is not None:
        parts.append(f"waiting so long for the answer costs {number(chosen['cost_of_delay'])}")
    return "; ".join(parts) + "."


def _budget_text(budget: Any) -> str:
    if budget is None:
        return ""
    if isinstance(budget, Mapping):
        return f" (budget {', '.join(f'{cell} {number(limit)}' for cell, limit in budget.items())})"
    return f" (budget {number(budget)} per cell)"


def _why(evidence: Mapping[str, Any]) -> str:
    periods, selector = evidence["periods"], evidence["selector"]
    unseen, searched = periods["unseen"], periods["searched"]
    windows = counted(periods["n_windows"], "window")
    if selector["name"] == "own split":
        return (
            f"{evidence['chosen']['rule']} Power is measured on {windows} from {unseen['first']} to {unseen['last']}."
        )
    return (
        f"The search has seen {searched['first']} to {searched['last']}; power is measured on {windows} from "
        f"{unseen['first']} to {unseen['last']}, by whose outcomes no market was chosen."
    )


def _assignment(evidence: Mapping[str, Any]) -> str:
    selector = evidence["selector"]
    if not selector["randomized"]:
        return "The markets are chosen, not drawn: the planned test rests on the history, not on a lottery."
    count = selector["n_admissible"]
    how_many = "" if count is None else f" among {_count(count)} admissible ones"
    return (
        f"The markets are drawn{how_many}, with seed {evidence['provenance']['seed']}; the same draws carry the test."
    )


def gap_line(detail: Mapping[str, Any]) -> str:
    """Say how much better balanced another partition into pairs could be; empty where a selector bounds nothing."""
    if "gap" not in detail:
        return ""
    pairs, gap = counted(detail["n_pairs"], "pair"), detail["gap"]
    if detail["certified"]:
        found = f"by more than {number(gap, digits=2)} of what a coin per market would leave: every possible pair was priced"
    elif gap <= _NOTHING:
        found = f"by more than {number(gap, digits=2)} of what a coin per market would leave, since no imbalance is below none"
    else:
        return (
            f"{pairs} of supergeos; how much better another partition could be isn't known: there are too many pairs to "
            f"price, and only zero bounds the imbalance ({number(gap, digits=2)} of what a coin per market would leave)."
        )
    return f"{pairs} of supergeos; no other partition under the same rules is better balanced {found}."


def _count(count: Mapping[str, Any]) -> str:
    value = count["value"]
    text = f"{value:,.0f}" if value < _WRITTEN_OUT else number(value, digits=2)
    return text if count["exact"] else f"about {number(value, digits=2)}"


def _what_would_help(evidence: Mapping[str, Any]) -> list[str]:
    """Say which change of the study would reach the power, as far as the design knows."""
    geo, durations, chosen = evidence["study"]["geo"], evidence["durations"], evidence["chosen"]
    found = []
    dear = [row for row in durations if row["reaches"] and not row["within_budget"] and row["investment"] is not None]
    if dear:
        cheapest = min(dear, key=lambda row: row["investment"])
        found.append(
            f"A budget of {number(cheapest['investment'])} for {counted(cheapest['duration'], 'period')}, "
            f"which pays for an effect of {percent(cheapest['mde'])}."
            if cheapest["mde"] is not None
            else f"A larger budget for {counted(cheapest['duration'], 'period')}."
        )
    if chosen["mde"] is not None and geo["smallest_worthwhile_effect"] is not None and not chosen["reaches"]:
        found.append(f"Being content with an effect of {percent(chosen['mde'])} as the smallest worthwhile one.")
    if chosen["duration"] == max(geo["durations"]):
        found.append(
            f"A longer test than {counted(chosen['duration'], 'period')}, if the history is long enough for it."
        )
    found.append("Other numbers of treated markets, fewer rules about them, or more markets and a longer history.")
    return found
