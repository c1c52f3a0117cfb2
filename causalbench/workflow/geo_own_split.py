"""The split that a geo study names itself: by its cells, or by the ledger of an earlier design."""

from __future__ import annotations

import numpy as np

from causalbench.errors import StudyError
from causalbench.geo.ledger import Ledger
from causalbench.geo.split import CONTROL, LEFT_OUT, Split
from causalbench.study.geo_study import CONTROL as CONTROL_NAME
from causalbench.workflow.geo_ground import Ground


def own_split(base: Ground) -> Split | None:
    """Return the split that the study names itself, from a ledger or from cells; None where it names none.

    Raises
    ------
    StudyError
        When a name is no cell or no market, stands twice, or a cell is left without a market.
    """
    test, units = base.study.geo.test, base.history.units
    if test is None:
        return None
    sealed = sealed_design(base)
    if sealed is not None:
        return sealed.split(units)
    cells = np.full(len(units), LEFT_OUT, dtype=np.int64)
    names = base.study.geo.cells
    named = {name: tuple(members) for name, members in (test.cells or {}).items() if name != CONTROL_NAME}
    controls = test.controls or (test.cells or {}).get(CONTROL_NAME)
    problems = [
        f"[geo.test] cells: {name!r} is no cell; cells are {', '.join(names)}" for name in named if name not in names
    ]
    members = [name for group in (*named.values(), controls or ()) for name in group]
    problems += [f"[geo.test] cells: {name!r} is no market of the history" for name in members if name not in units]
    problems += [
        f"[geo.test] cells: {name!r} is named twice" for name in sorted(set(members)) if members.count(name) > 1
    ]
    if problems or not named:
        raise StudyError(problems or ["[geo.test] cells: name the treated markets"], where=base.study.study.name)
    for name, group in named.items():
        cells[base.history.index(group)] = names.index(name) + 1
    split = base.constraints.complete(cells)
    if controls is not None:
        cells[base.history.index(controls)] = CONTROL
        split = Split(cells=cells)
    missing = [name for number, name in enumerate(names, start=1) if not (split.cells == number).any()]
    missing += [] if split.control.any() else [CONTROL_NAME]
    if missing:
        raise StudyError([f"[geo.test] cells: {', '.join(missing)} has no market"], where=base.study.study.name)
    return split


def sealed_design(base: Ground) -> Ledger | None:
    """Return the ledger that ``[geo.test]`` names; None where it names none.

    Raises
    ------
    DataError, LockError, StudyError
        When it lies elsewhere, was changed, or is of other cells.
    """
    name = None if base.study.geo.test is None else base.study.geo.test.ledger
    if name is None:
        return None
    ledger = Ledger.load(base.study.beside(name))
    if ledger.cells != base.study.geo.cells:
        raise StudyError(
            [f"[geo] cells are {', '.join(base.study.geo.cells)}, and those of {name} {', '.join(ledger.cells)}"],
            where=base.study.study.name,
        )
    return ledger
