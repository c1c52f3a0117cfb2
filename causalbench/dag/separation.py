"""Which nodes are independent of which, given what: d-separation, and separators in the moral graph of ancestors."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from causalbench.dag.budget import NEVER, Deadline
from causalbench.dag.graph import Graph, Nodes
from causalbench.errors import GraphError

Cut = Mapping[int, Collection[int]]
"""Edges left out: from each node those to some of its children."""

NO_CUT: Cut = {}


def d_separated(graph: Graph, x: Nodes, y: Nodes, given: Nodes = ()) -> bool:
    """Tell whether every path between two groups of nodes is blocked by a third (Pearl 1988; Geiger, Verma, Pearl 1990).

    Nodes that the sample was selected on are always given. Runs in linear time.

    Raises
    ------
    GraphError
        For unknown nodes, or where the groups overlap.

    Examples
    --------
    >>> graph = Graph.parse("x -> m -> y ; x -> c <- y")
    >>> d_separated(graph, "x", "y", "m"), d_separated(graph, "x", "y", ["m", "c"])
    (True, False)
    """
    left, right = graph.group(x), graph.group(y)
    held = graph.group(given) | graph.require(graph.selected)
    if left & right or (left | right) & held:
        shared = sorted(graph.names((left & right) | ((left | right) & held)))
        raise GraphError(f"the groups overlap: {', '.join(shared)}", remedy="name every node once")
    return reachable(graph, left, held).isdisjoint(right)


def reachable(graph: Graph, start: Iterable[int], held: Collection[int], *, cut: Cut = NO_CUT) -> set[int]:
    """Return the nodes that some open path leads to, leaving out the edges of ``cut``; held nodes themselves aren't listed.

    A path runs on from a node that isn't held to its parents where it came from a child, and to its children always; at a node
    with a held descendant, or held itself, it turns back to the parents.
    """
    parents, children = graph.parents, graph.children
    opened = graph.ancestors(held) if not cut else _ancestors_without(graph, held, cut)
    up, down = set(start), set()
    waiting = [(node, True) for node in up]
    while waiting:
        node, came_up = waiting.pop()
        if (came_up and node not in held) or (not came_up and node in opened):
            for parent in parents[node]:
                if parent not in up and not (parent in cut and node in cut[parent]):
                    up.add(parent)
                    waiting.append((parent, True))
        if node not in held:
            gone = cut.get(node, ())
            for child in children[node]:
                if child not in down and child not in gone:
                    down.add(child)
                    waiting.append((child, False))
    return (up | down) - set(held)


def open_path(
    graph: Graph,
    x: int,
    y: int,
    held: Collection[int],
    *,
    cut: Cut = NO_CUT,
    opened_by: int | None = None,
    blocked_by: int | None = None,
) -> str | None:
    """Return a shortest open path between two nodes, written with arrows; None where all are blocked.

    With ``opened_by``, only a path that is open because that held node lets it turn around counts; with ``blocked_by``, only one
    that holding that node would block. Such a path may be missed where a shorter walk passes some node twice; none is made up.
    """
    opened = _ancestors_without(graph, held, cut)
    closed = opened if opened_by is None else _ancestors_without(graph, set(held) - {opened_by}, cut)
    start = (x, True, opened_by is None and blocked_by is None)
    before: dict[tuple[int, bool, bool], tuple[int, bool, bool] | None] = {start: None}
    waiting = [start]
    for state in waiting:
        node, came_up, turned = state
        if node == y and turned and node != x and (path := _written(graph, state, before)) is not None:
            return path
        steps = []
        if (came_up and node not in held) or (not came_up and node in opened):
            turns = turned or (node == blocked_by if came_up else opened_by is not None and node not in closed)
            steps += [(p, True, turns) for p in graph.parents[node] if not (p in cut and node in cut[p])]
        if node not in held:
            turns = turned or node == blocked_by
            steps += [(child, False, turns) for child in graph.children[node] if child not in cut.get(node, ())]
        for step in steps:
            if step not in before and step[0] != x:
                before[step] = state
                waiting.append(step)
    return None


def _written(
    graph: Graph,
    state: tuple[int, bool, bool],
    before: dict[tuple[int, bool, bool], tuple[int, bool, bool] | None],
) -> str | None:
    """Write a path backwards from its last state, None for a walk that passes a node twice.

    A common cause that has no name shows as a bidirected edge.
    """
    states = [state]
    while (earlier := before[states[-1]]) is not None:
        states.append(earlier)
    if len({node for node, _, _ in states}) < len(states):
        return None
    text = ""
    for node, came_up, _ in reversed(states):
        arrow = "" if not text else " <- " if came_up else " -> "
        text += arrow + (graph.nodes[node] if node < len(graph.nodes) else "*")
    return text.replace(" <- * -> ", " <-> ")


def _ancestors_without(graph: Graph, nodes: Iterable[int], cut: Cut) -> set[int]:
    seen = set(nodes)
    waiting = list(seen)
    while waiting:
        node = waiting.pop()
        for parent in graph.parents[node]:
            if parent not in seen and not (parent in cut and node in cut[parent]):
                seen.add(parent)
                waiting.append(parent)
    return seen


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Question:
    """Separate x from y by nodes of ``allowed``, ``include`` among them, in a graph without the edges of ``cut``.

    Where ``lost`` holds a node, the sample was selected on what the effect leads to, and no set is an answer.

    Every minimal separator lies among the ancestors of the three, and separates in their moral graph, where parents of a common
    child are neighbours (Lauritzen et al. 1990; van der Zander, Liskiewicz, Textor 2019, section 4).
    """

    graph: Graph
    x: int
    y: int
    allowed: frozenset[int]
    include: frozenset[int] = frozenset()
    cut: Cut = field(default_factory=dict)
    lost: frozenset[int] = frozenset()

    def ancestral(self) -> set[int]:
        """Return the nodes of the moral graph."""
        return _ancestors_without(self.graph, {self.x, self.y} | self.include, self.cut)

    def family(self, node: int) -> list[int]:
        """Return a node with its parents, less those whose edge is cut."""
        cut = self.cut
        return [p for p in self.graph.parents[node] if not (p in cut and node in cut[p])] + [node]

    def minimal(self) -> frozenset[int] | None:
        """Return one minimal separator in linear time, the nearest one to x; None where there is none.

        Two sweeps: from x up to the first allowed nodes, then from y up to the first of these.
        """
        if self.lost:
            return None
        among = self.ancestral()
        walls = self.allowed | self.include
        first = self._sweep(self.x, walls, among)
        if self.y in first:
            return None
        near_x = (first & walls) - self.include
        second = self._sweep(self.y, near_x | self.include, among)
        return frozenset(second & near_x) | self.include

    def _sweep(self, start: int, walls: Collection[int], among: set[int]) -> set[int]:
        """Return what moral paths reach from a node before the first wall, walls included."""
        parents, children, cut = self.graph.parents, self.graph.children, self.cut
        seen, married = {start}, set()
        waiting = [start]
        while waiting:
            node = waiting.pop()
            if node in walls and node != start:
                continue
            gone = cut.get(node, ())
            families = [
                child for child in children[node] if child in among and child not in married and child not in gone
            ]
            married.update(families)
            for member in (node, *families):
                for other in (member, *parents[member]):
                    if other not in seen and other in among and not (other in cut and member in cut[other]):
                        seen.add(other)
                        waiting.append(other)
        return seen

    def all_minimal(self, *, deadline: Deadline = NEVER) -> Iterator[frozenset[int]]:
        """Yield every minimal separator, each once, with polynomial delay (Takata 2010).

        A set A around x grows; its separator is the part of A's neighbourhood next to y's component. Every neighbour is either
        taken into A or kept out of it for good, and a branch is left as soon as no separator can be in it.
        """
        moral = None if self.lost else _Moral.of(self)
        if moral is None:
            return
        yield from (
            frozenset(moral.order[i] for i in _bits(found)) | self.include for found in moral.separators(deadline)
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Moral:
    """A moral graph as bit sets, nodes that no separator may hold contracted away on the fly."""

    order: list[int]
    near: list[int]
    hidden: int
    x: int
    y: int

    @classmethod
    def of(cls, asked: Question) -> _Moral | None:
        among = asked.ancestral()
        order = sorted(among - asked.include)
        place = {node: i for i, node in enumerate(order)}
        near = [0] * len(order)
        for node in among:
            family = asked.family(node)
            bits = sum(1 << place[member] for member in family if member in place)
            for member in family:
                if member in place:
                    near[place[member]] |= bits
        x, y = place[asked.x], place[asked.y]
        near = [bits & ~(1 << i) for i, bits in enumerate(near)]
        hidden = sum(1 << i for i, node in enumerate(order) if node not in asked.allowed and i not in (x, y))
        moral = cls(order=order, near=near, hidden=hidden, x=x, y=y)
        return None if moral.absorbed(1 << x) & (1 << y) else moral

    def absorbed(self, group: int) -> int:
        """Return a group with every hidden node that hidden nodes connect to it, and y where they lead there."""
        edge = group
        while edge:
            around = 0
            for i in _bits(edge):
                around |= self.near[i]
            edge = around & (self.hidden | 1 << self.y) & ~group
            group |= edge
        return group

    def around(self, group: int) -> int:
        """Return the neighbours of a group."""
        found = 0
        for i in _bits(group):
            found |= self.near[i]
        return found & ~group

    def component(self, start: int, removed: int) -> int:
        """Return what is connected to a node without the removed ones."""
        group = edge = start
        while edge:
            around = 0
            for i in _bits(edge):
                around |= self.near[i]
            edge = around & ~removed & ~group
            group |= edge
        return group

    def separators(self, deadline: Deadline) -> Iterator[int]:
        """Yield minimal separators as bit sets."""
        target = 1 << self.y
        branches = [(self.absorbed(1 << self.x), 0)]
        while branches:
            deadline.check()
            group, kept = branches.pop()
            if group & target:
                continue
            separator = self.around(self.component(target, self.around(group)))
            group = self.component(1 << self.x, separator)
            if group & kept:
                continue
            open_ones = separator & ~kept & ~self.near[self.y]
            if not open_ones:
                yield separator
                continue
            node = open_ones & -open_ones
            branches.append((group, kept | node))
            branches.append((self.absorbed(group | node), kept))


def _bits(bits: int) -> Iterator[int]:
    while bits:
        low = bits & -bits
        yield low.bit_length() - 1
        bits ^= low
