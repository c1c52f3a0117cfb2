"""Graphs in GML, as networkx and yEd write them and dowhy reads them."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from causalbench.dag.statements import Found, refuse

_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)|(?P<open>\[)|(?P<close>\])|"(?P<quoted>[^"]*)"|(?P<word>[^\s\[\]"]+)""", re.VERBOSE
)
_BEGINS = re.compile(r'\s*(?:(?:#[^\n]*\n|(?:Creator|Version|comment)\s+(?:"[^"]*"|\S+))\s*)*graph\s*\[', re.IGNORECASE)
_REMEDY = 'write nodes as node [ id 0 label "a" ] and edges as edge [ source 0 target 1 ], in graph [ directed 1 ... ]'


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """What stands between two brackets: plain values by key, and blocks within."""

    kind: str
    at: int
    values: dict[str, str]
    blocks: list[_Block]


def is_gml(text: str) -> bool:
    """Tell whether a text begins as GML does."""
    return _BEGINS.match(text) is not None


def read_gml(text: str) -> Found:
    """Read nodes and edges; what lies deeper, such as ``graphics [...]``, is left out.

    Raises
    ------
    GraphError
        For brackets that don't match, an undirected graph, two nodes of one id or label, and edges between no nodes.
    """
    outer = _blocks(text)
    graph = next(block for block in outer.blocks if block.kind == "graph")
    if graph.values.get("directed") == "0":
        refuse(
            text,
            graph.at,
            "the graph is undirected",
            remedy="write directed 1 where every edge leads from source to target",
        )
    found, label = Found(), dict[str, str]()
    for block in graph.blocks:
        if block.kind == "node":
            _node(text, block, label, found)
    for block in graph.blocks:
        if block.kind == "edge":
            ends = [label.get(block.values.get(key, "")) for key in ("source", "target")]
            if None in ends:
                refuse(text, block.at, "an edge whose ends aren't nodes", remedy=_REMEDY)
            both = block.values.get("dir") == "both"
            (found.bidirected if both else found.edges).append((str(ends[0]), str(ends[1])))
    return found


def _node(text: str, block: _Block, label: dict[str, str], found: Found) -> None:
    key = block.values.get("id")
    if key is None:
        refuse(text, block.at, "a node without id", remedy=_REMEDY)
    name = block.values.get("label", key)
    if key in label or name in found.nodes:
        refuse(text, block.at, f"a second node {name!r}", remedy="give every node an id and a label of its own")
    label[key] = name
    found.nodes[name] = None
    found.mark(name, block.values)


def _blocks(text: str) -> _Block:
    """Read keys with values and blocks, the outermost of which has no brackets."""
    tokens = _tokens(text)
    stack = [_Block(kind="", at=0, values={}, blocks=[])]
    i = 0
    while i < len(tokens):
        kind, word, at = tokens[i]
        if kind == "close" and len(stack) > 1:
            stack.pop()
            i += 1
            continue
        follows = tokens[i + 1][0] if i + 1 < len(tokens) else "close"
        if kind != "word" or follows == "close":
            refuse(text, at, f"{word!r} isn't expected here", remedy=_REMEDY)
        if follows == "open":
            block = _Block(kind=word.lower(), at=at, values={}, blocks=[])
            stack[-1].blocks.append(block)
            stack.append(block)
        else:
            stack[-1].values[word.lower()] = tokens[i + 1][1]
        i += 2
    if len(stack) > 1:
        refuse(text, stack[-1].at, "this bracket isn't closed", remedy=_REMEDY)
    return stack[0]


def _tokens(text: str) -> Sequence[tuple[str, str, int]]:
    """Return kind, text and place; GML writes letters beyond ASCII as HTML does."""
    found, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            refuse(text, at, "this quote isn't closed", remedy=_REMEDY)
        if match.lastgroup != "space":
            kind = str(match.lastgroup)
            word = html.unescape(match[kind]) if kind == "quoted" else match[kind]
            found.append((kind, word, at))
        at = match.end()
    return found
