"""The advice on a study in words."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

_WIDTH = 110


def advice_text(study: Mapping[str, Any], advice: Mapping[str, Any]) -> str:
    """Write advice as lines for a terminal.

    Parameters
    ----------
    study, advice
        Plain values, as in the evidence.
    """
    lines = [f"{study['study']['name']}: {study['study']['question']}", "", *_primary(advice)]
    lines += _grade(advice)
    if advice["wait"]:
        lines += _wrapped(advice["wait"])
    if advice["instead"]:
        lines += _wrapped(advice["instead"])
    first, others = advice["eligible"][:1], advice["eligible"][1:]
    lines += _section(
        "Also allowed, to hold the answer against:", _offered(others, first[0]["condition"] if first else "")
    )
    lines += _section("Can be fitted, as a sensitivity only:", _offered(advice["sensitivity"], ""))
    lines += _section("Refused:", _refused(advice["refused"]))
    lines += _section("What only the readout can decide:", advice["at_readout"])
    own = _own_method(study, advice)
    return "\n".join([*lines, *(["", *own] if own else [])])


def named(item: Mapping[str, Any]) -> str:
    """Write a method with its options and its inference."""
    options = ", ".join(f"{key} = {value}" for key, value in item["options"].items())
    method = f"{item['method']} ({options})" if options else str(item["method"])
    return f"{method} with {item['inference']}" if item["inference"] else method


def _primary(advice: Mapping[str, Any]) -> list[str]:
    if advice["primary"] is None:
        return ["No method may claim an effect on these data."]
    first = advice["eligible"][0]
    return [f"Primary method: {named(first)} (row {first['row']})", *_wrapped(f"Because: {first['condition']}.", 2)]


def _grade(advice: Mapping[str, Any]) -> list[str]:
    why = _wrapped(
        f"Grade {advice['grade_cap']} at most, before the checks of the readout. {' '.join(advice['cap_reasons'])}"
    )
    first = advice["eligible"][0] if advice["eligible"] else None
    better = _wrapped(f"Better: {first['remedy']}.") if first and first["remedy"] else []
    return [*why, *(line for caution in advice["cautions"] for line in _wrapped(caution)), *better]


def _offered(items: Sequence[Mapping[str, Any]], said: str) -> Iterator[str]:
    """Write methods with what was measured for each; what was said of the primary isn't said again."""
    known = set(said.split("; "))
    for item in items:
        own = "; ".join(part for part in item["condition"].split("; ") if part not in known)
        yield f"{named(item)}{_rows([item['row']])}{f': {own}' if own else ''}"


def _refused(items: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Write refusals, those for the same reason together."""
    together: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for item in items:
        together.setdefault((item["condition"], item["remedy"]), []).append(item)
    for (condition, remedy), alike in together.items():
        methods = ", ".join(dict.fromkeys(named({**item, "inference": None}) for item in alike))
        rows = _rows(list(dict.fromkeys(item["row"] for item in alike)))
        yield f"{methods}{rows}: {condition}. What would lift it: {remedy}."


def _rows(rows: Sequence[str]) -> str:
    told = ", ".join(row for row in rows if row)
    return f" (row{'s' if len(rows) > 1 else ''} {told})" if told else ""


def _own_method(study: Mapping[str, Any], advice: Mapping[str, Any]) -> list[str]:
    """Say how the method that the study names stands to the advice."""
    name = study.get("method", {}).get("name")
    allowed = {item["method"] for item in advice["eligible"]}
    if advice["primary"] is None or "geo" in study:
        return []
    if name == "auto":
        return [f'The study says "auto": causalbench run takes {named(advice["eligible"][0])}.']
    if name == advice["primary"]:
        own = study["method"].get("options") or {}
        same = all(own.get(key) == value for key, value in advice["options"].items())
        advised = ", ".join(f"{key} = {value}" for key, value in advice["options"].items())
        return ["The study names this method." if same else f"The study names this method, but not {advised}."]
    stands = "is allowed, but not the primary one" if name in allowed else "isn't among the allowed ones"
    return _wrapped(f'The study names {name}, which {stands}. name = "auto" under [method] takes the primary method.')


def _section(title: str, items: Iterable[str]) -> list[str]:
    lines = [line for item in items for line in _wrapped(f"- {item}", 2, hang=2)]
    return ["", title, *lines] if lines else []


def _wrapped(text: str, indent: int = 0, *, hang: int = 0) -> list[str]:
    first, rest = " " * indent, " " * (indent + hang)
    return textwrap.wrap(text, _WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)
