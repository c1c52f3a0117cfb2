"""Graphs as text: dagitty, DOT, GML and edge lists; whatever can't be read is named with line and column."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from causalbench.dag.gml import is_gml, read_gml
from causalbench.dag.statements import Found, refuse, unknown_mark
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
_HEADS = ("dag", "digraph", "graph", "strict", "pdag")
_OF_CLASSES = ("mag", "pag")
_HEADERS = (["from", "to"], ["cause", "effect"], ["source", "target"], ["parent", "child"])
_DIRECTED = ("", "directed", "->")
_BIDIRECTED = ("bidirected", "<->", "both")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    kind: str
    text: str
    at: int


_Link = tuple[_Token, list[str], list[str]]


def parse(text: str) -> dict[str, Any]:
    """Return the fields of a :class:`~causalbench.dag.graph.Graph` from text in one of four forms."""
    text = text.removeprefix("\ufeff")
    if is_gml(text):
        return read_gml(text).fields()
    if _has_commas_alone(text):
        return _from_csv(text).fields()
    if "{" in text or "->" in text or "<-" in text or "--" in text:
        return _from_arrows(text).fields()
    return _from_csv(text).fields()


def _has_commas_alone(text: str) -> bool:
    """Tell whether the first line is cells between commas: an arrow there may stand in the third alone."""
    first = text.lstrip().split("\n", 1)[0]
    return "," in first and not re.search(r"[{\[]|--|->|<-", ",".join(first.split(",")[:2]))


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            problem = "this quote isn't closed" if text[at] == '"' else f"{text[at]!r} can't be read outside quotes"
            refuse(text, at, problem)
        if match.lastgroup != "space":
            yield _Token(kind=str(match.lastgroup), text=match[0], at=at)
        at = match.end()


def _from_arrows(text: str) -> Found:
    """Read dagitty's language and the part of DOT that graphs of causes need."""
    tokens = [*_tokens(text), _Token(kind="end", text="", at=len(text))]
    at, depth = _after_head(text, tokens)
    found = Found()
    while at < len(tokens):
        token = tokens[at]
        inner = _after_subgraph(tokens, at)
        if token.kind == "end":
            at += 1
        elif token.text == "}":
            depth -= 1
            at += 1
            if depth < 0:
                refuse(text, token.at, "brackets don't match")
        elif inner is not None:
            depth += 1
            at = inner
        else:
            at = _statement(text, tokens, at, found)
    if depth:
        refuse(text, len(text) - 1, "brackets don't match")
    return found


def _after_head(text: str, tokens: Sequence[_Token]) -> tuple[int, int]:
    """Skip ``dag {``, ``strict digraph "name" {`` and the like; return where it ends and how many brackets it opened."""
    first = next((token for token in tokens if token.kind != "end"), tokens[-1])
    kind = first.text.lower()
    if kind not in (*_HEADS, *_OF_CLASSES, "{"):
        return 0, 0
    opening = next((i for i, token in enumerate(tokens) if token.text == "{"), None)
    if opening is None or any(token.kind == "arrow" for token in tokens[:opening]):
        return 0, 0
    if kind in _OF_CLASSES:
        refuse(
            text,
            first.at,
            f"a {kind} stands for many graphs of causes",
            remedy="write the one that you mean as dag { ... }",
        )
    return (0, 0) if kind == "{" else (opening + 1, 1)


def _after_subgraph(tokens: Sequence[_Token], at: int) -> int | None:
    """Return where the inside of DOT's ``subgraph name {`` begins: its statements are the graph's; None where none begins."""
    if tokens[at].text.lower() != "subgraph":
        return None
    opening = at + 1 if tokens[at + 1].text == "{" else at + 2
    return opening + 1 if opening < len(tokens) and tokens[opening].text == "{" else None


def _statement(text: str, tokens: Sequence[_Token], at: int, found: Found) -> int:
    """Read one node with its marks, or one chain of edges; return where the next statement begins."""
    token = tokens[at]
    if token.kind == "word" and tokens[at + 1].text == "=":  # bb="0,0,1,1" and DOT's graph attributes
        return at + 3
    if token.text in ("node", "edge", "graph") and tokens[at + 1].text == "[":
        return _marks(text, tokens, at + 2)[1]
    left, at = _side(text, tokens, at, found)
    links: list[_Link] = []
    while True:
        ahead = _past_newlines(tokens, at)
        if tokens[ahead].kind == "arrow":
            after = _past_newlines(tokens, ahead + 1)
            named = tokens[after].kind in ("word", "quoted") or tokens[after].text == "{"
            right, at = _side(text, tokens, after if named else ahead + 1, found)
            links.append((tokens[ahead], left, right))
            left = right
        elif tokens[ahead].text == "[":
            marks, at = _marks(text, tokens, ahead + 1)
            if links:
                _connect(text, links, marks, found)
                links = []
            else:
                _mark(text, tokens[ahead], left, marks, found)
        else:
            break
    _connect(text, links, {}, found)
    if tokens[at].kind not in ("end", "word", "quoted") and tokens[at].text != "}":
        refuse(text, tokens[at].at, f"{tokens[at].text!r} isn't expected here")
    return at


def _past_newlines(tokens: Sequence[_Token], at: int) -> int:
    while tokens[at].text == "\n":
        at += 1
    return at


def _side(text: str, tokens: Sequence[_Token], at: int, found: Found) -> tuple[list[str], int]:
    """Read one end of an edge: a node, or several in braces."""
    token = tokens[at]
    if token.text == "{":
        names: list[str] = []
        at += 1
        while tokens[at].text != "}":
            if tokens[at].kind in ("word", "quoted"):
                names.append(_name(text, tokens[at]))
            elif tokens[at].kind != "end" and tokens[at].text != ",":
                refuse(text, tokens[at].at, "a name is expected")
            at += 1
            if at >= len(tokens):
                refuse(text, token.at, "this bracket isn't closed")
        found.nodes.update(dict.fromkeys(names))
        return names, at + 1
    name = _name(text, token)
    found.nodes[name] = None
    return [name], at + 1


def _name(text: str, token: _Token) -> str:
    name = _plain(token)
    if token.kind not in ("word", "quoted") or not name.strip():
        refuse(text, token.at, f"a name is expected, found {token.text.strip() or 'the end'!r}")
    return name


def _plain(token: _Token) -> str:
    return token.text[1:-1].replace('\\"', '"') if token.kind == "quoted" else token.text


def _connect(text: str, links: Sequence[_Link], marks: dict[str, str], found: Found) -> None:
    """Add the edges of a chain; ``dir`` among their marks turns all of them, as in DOT."""
    turn = marks.get("dir", "forward")
    for arrow, left, right in links:
        if arrow.text not in ("->", "<-", "<->") or turn not in ("forward", "back", "both"):
            refuse(text, arrow.at, f"{arrow.text + (f' [dir={turn}]' if 'dir' in marks else '')!r} has no direction")
        both = arrow.text == "<->" or turn == "both"
        backwards = (arrow.text == "<-") != (turn == "back")
        for a in left:
            for b in right:
                (found.bidirected if both else found.edges).append((b, a) if backwards and not both else (a, b))


def _marks(text: str, tokens: Sequence[_Token], at: int) -> tuple[dict[str, str], int]:
    """Read ``latent, pos="0,1"]``; a mark without a value has an empty one."""
    marks: dict[str, str] = {}
    start = at
    while tokens[at].text != "]":
        token = tokens[at]
        if token.kind in ("word", "quoted"):
            value = ""
            if tokens[at + 1].text == "=":
                value = _plain(tokens[at + 2])
                at += 2
            marks[_plain(token).lower()] = value
        at += 1
        if at >= len(tokens):
            refuse(text, tokens[start - 1].at, "this bracket isn't closed")
    return marks, at + 1


def _mark(text: str, bracket: _Token, names: Sequence[str], marks: dict[str, str], found: Found) -> None:
    """Apply the marks of nodes; one without a value has to mean something, or a misspelt latent would count as measured."""
    for mark, value in marks.items():
        problem = None if value else unknown_mark(mark)
        if problem is not None:
            refuse(text, bracket.at, problem)
    for name in names:
        found.mark(name, marks)


def _from_csv(text: str) -> Found:
    """Read an edge list: cause, effect, and a third column that may say ``bidirected``; a header is known by its words."""
    found = Found()
    try:
        rows = [
            (i, [cell.strip() for cell in row])
            for i, row in enumerate(csv.reader(io.StringIO(text)), start=1)
            if any(cell.strip() for cell in row)
        ]
    except csv.Error as error:
        raise GraphError(f"the edge list can't be read: {error}", remedy="write one edge a line") from None
    if rows and [cell.lower() for cell in rows[0][1][:2]] in _HEADERS:
        rows = rows[1:]
    for line, row in rows:
        if len(row) < 2 or not row[0] or not row[1]:
            raise GraphError(
                f"line {line}: {','.join(row)[:80]!r} isn't cause, effect",
                remedy="write an edge list with two columns, dagitty text, DOT or GML",
            )
        found.nodes.update({row[0]: None, row[1]: None})
        kind = row[2].lower() if len(row) > 2 else ""
        if kind not in (*_DIRECTED, *_BIDIRECTED) and not _number(kind):
            raise GraphError(
                f"line {line}: the third column is {row[2][:80]!r}",
                remedy="write directed, bidirected or nothing there",
            )
        (found.bidirected if kind in _BIDIRECTED else found.edges).append((row[0], row[1]))
    return found


def _number(text: str) -> bool:
    """Tell whether a cell is a weight: it may stand there, and counts for nothing."""
    try:
        float(text)
    except ValueError:
        return False
    return True
