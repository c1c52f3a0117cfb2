"""The summary table and the report in words."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Output = Literal["summary", "report"]
Row = Mapping[str, float]

_LABEL, _COLUMN = 26, 19


class Text(str):
    """Text that a prompt or a notebook shows as it is, not as a string literal."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What surrounds the numbers.

    Attributes
    ----------
    learned, judged
        The rows that were learned from, and those in which the effect was measured.
    priors
        Which priors were used and how often their intervals hold the effect.
    notes
        What the reader must know besides.
    """

    learned: str
    judged: str
    priors: str
    notes: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cells:
    """The numbers of one row of the table, as both texts print them."""

    actual: str
    predicted: str
    predicted_sd: str
    predicted_interval: str
    effect: str
    effect_sd: str
    effect_interval: str
    relative: str
    relative_sd: str
    relative_interval: str


def summary_text(rows: Mapping[str, Row], story: Story, *, digits: int) -> Text:
    """Write the table in R's rows and the ports' columns, then the rows used, the priors and the notes."""
    average, cumulative = _cells(rows["Average"], digits), _cells(rows["Cumulative"], digits)
    level = _level(rows["Average"])
    lines = [
        ("", "Average", "Cumulative"),
        ("Actual", average.actual, cumulative.actual),
        ("Prediction (s.d.)", *(f"{c.predicted} ({c.predicted_sd})" for c in (average, cumulative))),
        (f"{level} CI", average.predicted_interval, cumulative.predicted_interval),
        (),
        ("Absolute effect (s.d.)", *(f"{c.effect} ({c.effect_sd})" for c in (average, cumulative))),
        (f"{level} CI", average.effect_interval, cumulative.effect_interval),
        (),
        ("Relative effect (s.d.)", *(f"{c.relative} ({c.relative_sd})" for c in (average, cumulative))),
        (f"{level} CI", average.relative_interval, cumulative.relative_interval),
    ]
    width = max(_COLUMN, *(len(line[1]) + 2 for line in lines if line))
    text = [f"{line[0]:<{_LABEL}}{line[1]:<{width}}{line[2]}" if line else "" for line in lines]
    tail = rows["Average"]["p"]
    text += [
        "",
        f"Posterior tail-area probability p: {_probability(tail)}",
        f"Posterior prob. of a causal effect: {100 * (1 - tail):.2f}%",
        "",
        *_wrapped(f"Learned from {story.learned}; effect measured in {story.judged}."),
        *_wrapped(story.priors),
        *(_wrapped(_relative_sentence(average, level)) if average.relative == "not computed" else ()),
        *(line for note in story.notes for line in _wrapped(f"Note: {note}.")),
        "",
        "In words: print(impact.summary('report'))",
    ]
    return Text("\n".join(["Posterior inference {CausalImpact}", "", *text]))


def report_text(rows: Mapping[str, Row], story: Story, *, digits: int, width: int) -> Text:
    """Say in words what the table says, and what it doesn't."""
    average, cumulative = _cells(rows["Average"], digits), _cells(rows["Cumulative"], digits)
    level = _level(rows["Average"])
    row = rows["Average"]
    paragraphs = [
        _average_sentences(average, story, level),
        _total_sentence(cumulative, level),
        _relative_sentence(average, level),
        _verdict(row, average, level),
        _tail_sentences(row["p"]),
        _conditions(story),
        *(f"Note: {note}." for note in story.notes),
    ]
    filled = (textwrap.fill(paragraph, width=width, break_long_words=False) for paragraph in paragraphs)
    return Text("\n\n".join(["Analysis report {CausalImpact}", *filled]))


def _average_sentences(cells: _Cells, story: Story, level: str) -> str:
    return (
        f"In {story.judged} the response averaged {cells.actual}. Without the intervention {cells.predicted} would have been "
        f"expected, with a {level} interval of {cells.predicted_interval}. The difference is the estimated effect: "
        f"{cells.effect} on average, with a {level} interval of {cells.effect_interval}."
    )


def _total_sentence(cells: _Cells, level: str) -> str:
    return (
        "Added up over these rows, which makes sense for counts and amounts and not for rates, the response came to "
        f"{cells.actual} where {cells.predicted} was expected, {level} interval {cells.predicted_interval}: "
        f"an effect of {cells.effect}, {level} interval {cells.effect_interval}."
    )


def _tail_sentences(tail: float) -> str:
    return (
        f"The posterior tail-area probability of an effect on the other side of zero is {_probability(tail)}, one-sided. "
        "It is what the model believes after seeing the data, and not how often a test would raise a false alarm."
    )


def _conditions(story: Story) -> str:
    return (
        "All of this holds if the controls didn't react to the intervention and if what tied the response to them and to its "
        f"own past, learned from {story.learned}, went on holding. Nothing in the data can show that it did: try the same "
        f"call on dates before the intervention, where no effect should be found. {story.priors}"
    )


def _relative_sentence(cells: _Cells, level: str) -> str:
    if cells.relative == "not computed":
        return (
            "A relative effect isn't computed: the response expected without the intervention isn't surely positive, "
            "so a share of it means nothing."
        )
    return f"Relative to what was expected the effect is {cells.relative}, with a {level} interval of {cells.relative_interval}."


def _verdict(row: Row, cells: _Cells, level: str) -> str:
    lower, upper = row["AbsEffect.lower"], row["AbsEffect.upper"]
    if lower <= 0 <= upper:
        direction = "an increase" if row["AbsEffect"] > 0 else "a decrease"
        return (
            f"The {level} interval of the effect holds zero: {direction} is the best guess, no effect remains possible, and so "
            f"does all else in {cells.effect_interval}. The rows after the intervention may be too few, or too many for an "
            "effect that fades, or the controls too weak to follow the response closely. Not shown isn't the same as absent."
        )
    direction = "rose" if row["AbsEffect"] > 0 else "fell"
    return (
        f"The {level} interval of the effect doesn't hold zero: by this model the response {direction} by more than chance "
        f"explains. Whether {cells.effect} matters is for you to judge against what the intervention cost and was meant to do; "
        "and look at the controls once more, because one that moved for reasons of its own would look the same."
    )


def _cells(row: Row, digits: int) -> _Cells:
    places = _places(row["AbsEffect.sd"], digits)
    shares = {key: 100 * row[key] for key in row if key.startswith("RelEffect")}
    share_places = _places(shares["RelEffect.sd"], digits)
    known = math.isfinite(shares["RelEffect"])
    return _Cells(
        actual=_number(row["Actual"], places),
        predicted=_number(row["Pred"], places),
        predicted_sd=_number(row["Pred.sd"], places),
        predicted_interval=_ends(row["Pred.lower"], row["Pred.upper"], places),
        effect=_number(row["AbsEffect"], places),
        effect_sd=_number(row["AbsEffect.sd"], places),
        effect_interval=_ends(row["AbsEffect.lower"], row["AbsEffect.upper"], places),
        relative=f"{_number(shares['RelEffect'], share_places)}%" if known else "not computed",
        relative_sd=f"{_number(shares['RelEffect.sd'], share_places)}%" if known else "-",
        relative_interval=_ends(shares["RelEffect.lower"], shares["RelEffect.upper"], share_places, "%")
        if known
        else "-",
    )


def _places(spread: float, digits: int) -> int:
    """Decimal places: as many as were asked for, and more where the standard deviation would show fewer than two digits."""
    if not math.isfinite(spread) or spread <= 0:
        return digits
    return max(digits, 1 - math.floor(math.log10(spread)))


def _number(value: float, places: int) -> str:
    return f"{value:.{places}f}"


def _ends(lower: float, upper: float, places: int, unit: str = "") -> str:
    return f"[{_number(lower, places)}{unit}, {_number(upper, places)}{unit}]"


def _probability(tail: float) -> str:
    return f"{tail:.4f}" if tail >= 5e-5 else f"{tail:.1e}"


def _level(row: Row) -> str:
    return f"{100 * (1 - row['alpha']):.10g}%"


def _wrapped(sentence: str) -> list[str]:
    return textwrap.wrap(sentence, width=100, subsequent_indent="  ", break_long_words=False)
