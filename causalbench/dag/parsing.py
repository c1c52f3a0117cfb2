"""Graphs as text: dagitty, DOT, GML and edge lists; whatever can't be read is named with line and column."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from causalbench.errors import GraphError

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\f\v]+|//[^\n]*|\#[^\n]*|/\*.*?\*/)
    |(?P<end>[\n;])
    |(?P<arrow><->|->|<-|--|@-@|@->|<-@)
    |(?P<mark>[{}\[\]=,])
    |(?P<quoted>"(?:[^"\\]|\\.)*")
    |(?P<word>(?:[^\s;{}\[\]=,"<>@-]|-(?![->]))+)""",
    re.VERBOSE | re.DOTALL,
)
_ROLES = {
    "latent": "latents",
    "unobserved": "latents",
    "u": "latents",
    "selected": "selected",
    "adjusted": "selected",
    "exposure": "exposure",
    "e": "exposure",
    "outcome": "outcome",
    "o": "outcome",
    "before_launch": "before_launch",
}
_HEADS = ("dag", "digraph", "graph", "strict", "pdag", "mag", "pag")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    kind: str
    text: str
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    nodes: dict[str, None] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    bidirected: list[tuple[str, str]] = field(default_factory=list)
    roles: dict[str, list[str]] = field(default_factory=dict)
    tiers: dict[str, int] = field(default_factory=dict)


def parse(text: str) -> dict[str, Any]:
    """Return the fields of a :class:`~causalbench.dag.graph.Graph` from text in one of four forms."""
    stripped = text.lstrip()
    if re.match(r"(Creator\b.*\n\s*)?(Version\b.*\n\s*)?graph\s*\[", stripped):
        return _fields(_from_gml(text))
    if re.match(rf"({'|'.join(_HEADS)})\b", stripped) or "{" in text or "->" in text or "<-" in text:
        return _fields(_from_arrows(text))
    return _fields(_from_csv(text))


def _fields(found: _Found) -> dict[str, Any]:
    single = {}
    for role in ("exposure", "outcome"):
        names = found.roles.get(role, [])
        if len(names) > 1:
            raise GraphError(f"several nodes are the {role}: {', '.join(names)}", remedy="mark one")
        single[role] = names[0] if names else None
    early = dict.fromkeys(found.roles.get("before_launch", ()), 0)
    if early and single["exposure"]:
        early[str(single["exposure"])] = 1
    return {
        "nodes": tuple(found.nodes),
        "edges": tuple(found.edges),
        "bidirected": tuple(found.bidirected),
        "latents": frozenset(found.roles.get("latents", ())),
        "selected": frozenset(found.roles.get("selected", ())),
        "tiers": early | found.tiers,
        **single,
    }


def _refuse(text: str, at: int, problem: str) -> NoReturn:
    line, start = text.count("\n", 0, at) + 1, text.rfind("\n", 0, at) + 1
    shown = text[start:].split("\n", 1)[0].strip()
    raise GraphError(
        f"line {line}, column {at - start + 1}: {problem}: {shown[:80]}",
        remedy='write edges as "a -> b" or "a <-> b" and marks as "u [latent]", one statement a line',
    )


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            _refuse(text, at, f"{text[at]!r} can't be read")
        if match.lastgroup != "space":
            yield _Token(kind=str(match.lastgroup), text=match[0], at=at)
        at = match.end()


def _from_arrows(text: str) -> _Found:
    """Read dagitty's language and the part of DOT that graphs of causes need."""
    tokens = [*_tokens(text), _Token(kind="end", text="", at=len(text))]
    at = _after_head(tokens)
    found, depth = _Found(), 0
    while at < len(tokens):
        token = tokens[at]
        if token.kind == "end":
            at += 1
        elif token.text == "}":
            depth += 1
            at += 1
        else:
            at = _statement(text, tokens, at, found)
    if depth > 1 or (depth == 0 and any(t.text == "{" for t in tokens)):
        _refuse(text, len(text) - 1, "brackets don't match")
    return found


def _after_head(tokens: list[_Token]) -> int:
    """Skip ``dag {``, ``strict digraph "name" {`` and the like."""
    if tokens[0].text not in _HEADS:
        return 0
    opening = next((i for i, token in enumerate(tokens) if token.text == "{"), None)
    return 0 if opening is None else opening + 1


def _statement(text: str, tokens: list[_Token], at: int, found: _Found) -> int:
    """Read one node with its marks, or one chain of edges; return where the next statement begins."""
    token = tokens[at]
    if token.kind == "word" and tokens[at + 1].text == "=":  # bb="0,0,1,1" and DOT's graph attributes
        return at + 3
    if token.text in ("node", "edge", "graph") and tokens[at + 1].text == "[":
        return _marks(text, tokens, at + 2)[1]
    left, at = _side(text, tokens, at, found)
    if tokens[at].text == "[":
        marks, at = _marks(text, tokens, at + 1)
        for name in left:
            _apply(marks, name, found)
    while tokens[at].kind == "arrow":
        arrow = tokens[at]
        right, at = _side(text, tokens, at + 1, found)
        _connect(text, arrow, left, right, found)
        left = right
        if tokens[at].text == "[":
            marks, at = _marks(text, tokens, at + 1)
            if marks.get("dir") == "both" and len(left) == 1:
                found.bidirected.append(found.edges.pop())
    if tokens[at].kind != "end" and tokens[at].text != "}" and tokens[at].kind not in ("word", "quoted"):
        _refuse(text, tokens[at].at, f"{tokens[at].text!r} isn't expected here")
    return at


def _side(text: str, tokens: list[_Token], at: int, found: _Found) -> tuple[list[str], int]:
    """Read one end of an edge: a node, or several in braces."""
    token = tokens[at]
    if token.text == "{":
        names: list[str] = []
        at += 1
        while tokens[at].text != "}":
            if tokens[at].kind in ("word", "quoted"):
                names.append(_name(tokens[at]))
            elif tokens[at].kind != "end" and tokens[at].text != ",":
                _refuse(text, tokens[at].at, "a name is expected")
            at += 1
            if at >= len(tokens):
                _refuse(text, token.at, "this bracket isn't closed")
        found.nodes.update(dict.fromkeys(names))
        return names, at + 1
    if token.kind not in ("word", "quoted"):
        _refuse(text, token.at, f"a name is expected, found {token.text.strip() or 'the end'!r}")
    found.nodes[_name(token)] = None
    return [_name(token)], at + 1


def _name(token: _Token) -> str:
    return token.text[1:-1].replace('\\"', '"') if token.kind == "quoted" else token.text


def _connect(text: str, arrow: _Token, left: list[str], right: list[str], found: _Found) -> None:
    for a in left:
        for b in right:
            if arrow.text == "->":
                found.edges.append((a, b))
            elif arrow.text == "<-":
                found.edges.append((b, a))
            elif arrow.text == "<->":
                found.bidirected.append((a, b))
            else:
                _refuse(text, arrow.at, f"{arrow.text!r} has no direction")


def _marks(text: str, tokens: list[_Token], at: int) -> tuple[dict[str, str], int]:
    """Read ``latent, pos="0,1"]``."""
    marks: dict[str, str] = {}
    start = at
    while tokens[at].text != "]":
        token = tokens[at]
        if token.kind in ("word", "quoted"):
            value = "true"
            if tokens[at + 1].text == "=":
                value = _name(tokens[at + 2])
                at += 2
            marks[_name(token).lower()] = value
        at += 1
        if at >= len(tokens):
            _refuse(text, tokens[start - 1].at, "this bracket isn't closed")
    return marks, at + 1


def _apply(marks: dict[str, str], name: str, found: _Found) -> None:
    for mark, value in marks.items():
        if mark == "tier":
            found.tiers[name] = _tier(value, name)
        hidden = mark == "observed" and value.lower() in ("no", "false")
        role = "latents" if hidden else _ROLES.get(mark)
        if role and (hidden or value.lower() not in ("no", "false", "0")):
            named = found.roles.setdefault(role, [])
            if name not in named:
                named.append(name)


def _tier(value: str, name: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise GraphError(f"the tier of {name} is {value!r}", remedy="give a whole number, as in [tier=1]") from None


def _from_gml(text: str) -> _Found:
    """Read GML's nodes and edges."""
    found, label = _Found(), {}
    for kind, body, at in _gml_blocks(text):
        if kind == "node":
            if "id" not in body:
                _refuse(text, at, "a node without id")
            name = label[body["id"]] = body.get("label", body["id"])
            found.nodes[name] = None
            _apply({key: value for key, value in body.items() if key in (*_ROLES, "observed", "tier")}, name, found)
        else:
            ends = [label.get(body.get(key, "")) for key in ("source", "target")]
            if None in ends:
                _refuse(text, at, "an edge whose ends aren't nodes")
            (found.bidirected if body.get("dir") == "both" else found.edges).append((str(ends[0]), str(ends[1])))
    return found


def _gml_blocks(text: str) -> Iterator[tuple[str, dict[str, str], int]]:
    for match in re.finditer(r"\b(node|edge)\s*\[([^\]]*)\]", text):
        pairs = re.findall(r'(\w+)\s+("[^"]*"|[^\s"]+)', match[2])
        yield match[1], {key.lower(): value.strip('"') for key, value in pairs}, match.start()


def _from_csv(text: str) -> _Found:
    """Read an edge list: cause, effect, and ``bidirected`` where neither is; a header is recognised by its words."""
    found = _Found()
    rows = [
        (i, [cell.strip() for cell in row]) for i, row in enumerate(csv.reader(io.StringIO(text)), start=1) if any(row)
    ]
    if rows and [cell.lower() for cell in rows[0][1][:2]] in (
        ["from", "to"],
        ["cause", "effect"],
        ["source", "target"],
    ):
        rows = rows[1:]
    for line, row in rows:
        if len(row) < 2 or not row[0] or not row[1]:
            raise GraphError(
                f"line {line}: {','.join(row)!r} isn't cause, effect",
                remedy="write an edge list with two columns, dagitty text, DOT or GML",
            )
        found.nodes.update({row[0]: None, row[1]: None})
        both = len(row) > 2 and row[2] == "bidirected"
        (found.bidirected if both else found.edges).append((row[0], row[1]))
    if not rows:
        raise GraphError("the graph is empty", remedy='write edges such as "a -> b"')
    return found
