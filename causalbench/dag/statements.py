"""What a text says of a graph, whatever its form: nodes, edges, marks, and the place of what can't be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from causalbench.errors import GraphError, nearest

_ROLES = {
    "latent": "latents",
    "unobserved": "latents",
    "u": "latents",
    "selected": "selected",
    "exposure": "exposure",
    "e": "exposure",
    "outcome": "outcome",
    "o": "outcome",
    "before_launch": "before_launch",
}
_WITHOUT_MEANING = ("adjusted", "a")
"""dagitty's mark of what somebody chose to adjust for: no part of the graph."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was read so far; ``roles`` holds the nodes of every mark."""

    nodes: dict[str, None] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    bidirected: list[tuple[str, str]] = field(default_factory=list)
    roles: dict[str, list[str]] = field(default_factory=dict)
    tiers: dict[str, int] = field(default_factory=dict)

    def mark(self, name: str, marks: Mapping[str, str]) -> None:
        """Apply the marks of one node; those that only draw it count for nothing."""
        for mark, value in marks.items():
            if mark == "tier":
                self.tiers[name] = _tier(value, name)
            hidden = mark == "observed" and value.lower() in ("no", "false", "0")
            role = "latents" if hidden else _ROLES.get(mark)
            if role and (hidden or value.lower() not in ("no", "false", "0")):
                named = self.roles.setdefault(role, [])
                if name not in named:
                    named.append(name)

    def fields(self) -> dict[str, Any]:
        """Return the fields of a :class:`~causalbench.dag.graph.Graph`."""
        if not self.nodes:
            raise GraphError("the graph is empty", remedy='write edges such as "a -> b"')
        single = {}
        for role in ("exposure", "outcome"):
            names = self.roles.get(role, [])
            if len(names) > 1:
                raise GraphError(f"several nodes are the {role}: {', '.join(names)}", remedy="mark one")
            single[role] = names[0] if names else None
        early = dict.fromkeys(self.roles.get("before_launch", ()), 0)
        if early and single["exposure"]:
            early[str(single["exposure"])] = 1
        return {
            "nodes": tuple(self.nodes),
            "edges": tuple(self.edges),
            "bidirected": tuple(self.bidirected),
            "latents": frozenset(self.roles.get("latents", ())),
            "selected": frozenset(self.roles.get("selected", ())),
            "tiers": early | self.tiers,
            **single,
        }


def unknown_mark(mark: str) -> str | None:
    """Return what to say of a mark without a value that means nothing here, such as a misspelt ``latent``; None where it does."""
    if mark in _ROLES or mark in _WITHOUT_MEANING:
        return None
    known = [name for name in _ROLES if len(name) > 1]
    return f"the mark {mark!r} means nothing{nearest(mark, known)}; marks are {', '.join(known)}, tier=1"


def refuse(text: str, at: int, problem: str, *, remedy: str = "") -> NoReturn:
    """Refuse a text at one place, with line and column."""
    line, start = text.count("\n", 0, at) + 1, text.rfind("\n", 0, at) + 1
    shown = text[start:].split("\n", 1)[0].strip()
    raise GraphError(
        f"line {line}, column {at - start + 1}: {problem}: {shown[:80]}",
        remedy=remedy or 'write edges as "a -> b" or "a <-> b" and marks as "u [latent]", one statement a line',
    )


def _tier(value: str, name: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise GraphError(f"the tier of {name} is {value!r}", remedy="give a whole number, as in [tier=1]") from None
