"""A separator of smallest cost, by a minimum cut of the moral graph."""

from __future__ import annotations

import math
from collections.abc import Mapping

from causalbench.dag.budget import NEVER, Deadline
from causalbench.dag.separation import Question
from causalbench.errors import GraphError

_Room = dict[int, dict[int, float]]


def cheapest(asked: Question, costs: Mapping[str, float], *, deadline: Deadline = NEVER) -> frozenset[int] | None:
    """Return a separator of smallest total cost; None where there is none.

    Flow runs along shortest paths (Edmonds, Karp 1972) through nodes that are split in two, with the cost between the halves.
    The parents of a child are neighbours by way of one more node, so that the network has as many edges as the graph.

    Raises
    ------
    GraphError
        For costs of unknown nodes, and for costs below zero or without end.
    """
    graph = asked.graph
    graph.require(costs, what="costs")
    if any(not 0 <= cost < math.inf for cost in costs.values()):
        raise GraphError("costs must be numbers from 0 up", remedy="correct costs; exclude what can't be measured")
    if asked.minimal() is None:
        return None
    among = asked.ancestral() - asked.include
    room = _network(asked, among, costs)
    source, sink = 2 * asked.x + 1, 2 * asked.y
    while True:
        deadline.check()
        before = _reached(room, source, sink)
        if sink not in before:
            return frozenset(v for v in among if 2 * v in before and 2 * v + 1 not in before) | asked.include
        path = [sink]
        while path[-1] != source:
            path.append(before[path[-1]])
        steps = list(zip(path[1:], path, strict=False))
        most = min(room[a][b] for a, b in steps)
        for a, b in steps:
            room[a][b] -= most
            room[b][a] += most


def _network(asked: Question, among: set[int], costs: Mapping[str, float]) -> _Room:
    """Return the room for flow: node v is 2v where paths come in and 2v + 1 where they leave; families have numbers above."""
    graph, room = asked.graph, _Room()

    def connect(a: int, b: int, most: float) -> None:
        room.setdefault(a, {})[b] = most
        room.setdefault(b, {}).setdefault(a, 0.0)

    for node in sorted(among):
        price = float(costs.get(graph.nodes[node], 1.0)) if node in asked.allowed else math.inf
        connect(2 * node, 2 * node + 1, price)
    for child in sorted(asked.ancestral()):
        members = [member for member in asked.family(child) if member in among]
        for member in members if len(members) > 1 else ():
            connect(2 * member + 1, 2 * len(graph.parents) + child, math.inf)
            connect(2 * len(graph.parents) + child, 2 * member, math.inf)
    return room


def _reached(room: _Room, source: int, sink: int) -> dict[int, int]:
    """Return what flow can still reach, each with the one before it on a shortest path; it ends at the sink."""
    before = {source: source}
    waiting = [source]
    for node in waiting:
        for other, left in room.get(node, {}).items():
            if left > 0 and other not in before:
                before[other] = node
                if other == sink:
                    return before
                waiting.append(other)
    return before
