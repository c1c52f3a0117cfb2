"""The ledger of a geo design: what was decided before the test, sealed so that a later change shows."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from causalbench.artifacts import canonical_json, digest, open_sealed, plain, seal_of, sealed_json
from causalbench.catalogue import Catalogue
from causalbench.data.panel import Panel
from causalbench.errors import LockError, listing
from causalbench.geo.constraints import Constraints
from causalbench.geo.markets import Markets
from causalbench.geo.split import CONTROL, LEFT_OUT, Split
from causalbench.study.geo_study import CONTROL as CONTROL_NAME
from causalbench.study.geo_study import Geo
from causalbench.values import BoolArray, IntArray

LEDGER = "design.json"
ASSIGNMENT = "assignment.csv"
LEFT_OUT_NAME = "left out"
SELECTORS = Catalogue("causalbench.geo.selectors", "selector", "[geo.options]")

_SECTIONS = ("study", "data", "seed", "constraints", "selector", "assignment", "planned_analysis", "files", "versions")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ledger:
    """What a geo design decided, under a seal.

    The seal is the SHA-256 of the canonical JSON of everything else; sections have digests of their own, so that an error
    names what was changed. A seal without a key stops no forger: who changes the file can seal it again. It shows
    accidents, and together with the digest on the design's page (kept, sent, or committed before the test) any change at
    all. Not to be used as a signature.

    Attributes
    ----------
    content
        Sections of the file, plain JSON values: ``study`` (name, question), ``data`` (metric, units, first and last period,
        fingerprint of the panel), ``seed``, ``constraints`` (the table ``[geo]``, what it says in words, the columns of
        markets and the neighbours that rules used), ``selector`` (name, options, whether it randomises),
        ``assignment`` (cells, strata, weights by market), ``planned_analysis``, ``files`` (digests of the files beside),
        ``versions``.

    Examples
    --------
    >>> ledger = Ledger(content={name: {} for name in _SECTIONS} | {"seed": 1})
    >>> len(ledger.seal), ledger.seal == Ledger(content={**ledger.content, "seed": 2}).seal
    (64, False)
    """

    content: Mapping[str, Any]

    def __post_init__(self) -> None:
        missing = [name for name in _SECTIONS if name not in self.content]
        extra = sorted(set(self.content) - set(_SECTIONS))
        if missing or extra:
            raise ValueError(f"a ledger has the sections {', '.join(_SECTIONS)}; missing {missing}, unknown {extra}")
        object.__setattr__(self, "content", plain(self.content))

    @property
    def seal(self) -> str:
        """SHA-256 of the canonical JSON of everything but the seal."""
        return seal_of(self.content)

    def to_json(self) -> str:
        """Return the bytes of ``design.json``."""
        return sealed_json(self.content)

    @classmethod
    def load(cls, path: str | Path) -> Ledger:
        """Read a ledger and hold it, and the files beside it, against the seal.

        Raises
        ------
        LockError
            When there is no ledger, it can't be read, or a byte of it or of a file that it seals was changed.
        """
        path = Path(path)
        path = path / LEDGER if path.is_dir() else path
        absent = f"name the {LEDGER} of a design, or its folder"
        ledger = cls(content=open_sealed(path, _SECTIONS, what="ledger", absent=absent, remedy=_RESTORE))
        ledger.require_files(path.parent)
        return ledger

    def require_files(self, folder: Path) -> None:
        """Refuse a folder in which a file that the ledger seals was changed; one that isn't there is no change."""
        for name, sealed in self.content["files"].items():
            beside = folder / Path(name).name
            if beside.exists() and digest(beside.read_bytes()) != sealed:
                raise LockError(f"{beside} was changed after the design was sealed", remedy=_RESTORE)

    @property
    def units(self) -> tuple[str, ...]:
        """Markets of the design, in the order of its arrays."""
        return tuple(self.content["data"]["units"])

    @property
    def cells(self) -> tuple[str, ...]:
        """Names of the treated cells; the number of a cell is its place here, from 1 up."""
        return tuple(self.content["constraints"]["geo"]["cells"])

    @property
    def randomized(self) -> bool:
        """Whether the markets were drawn, so that the design's own draws carry the test."""
        return bool(self.content["selector"]["randomized"])

    @property
    def planned_analysis(self) -> Mapping[str, Any]:
        """Estimator, inference, level, duration and whatever else was fixed before the test."""
        analysis: Mapping[str, Any] = self.content["planned_analysis"]
        return analysis

    def split(self, units: Sequence[str]) -> Split:
        """Return the design's split for markets in this order; markets that it doesn't know are left out.

        Raises
        ------
        LockError
            When a market that the design uses isn't there.
        """
        assigned, place = self.content["assignment"], {unit: i for i, unit in enumerate(units)}
        used = [unit for unit, cell in zip(self.units, assigned["cells"], strict=True) if cell != LEFT_OUT]
        absent = [unit for unit in used if unit not in place]
        if absent:
            raise LockError(
                f"{len(absent)} markets of the design aren't in the table: {listing(absent)}",
                remedy="read the table as the design did, or analyse the split that ran with [geo.test] cells",
            )
        cells = np.full(len(units), LEFT_OUT, dtype=np.int64)
        strata = np.full(len(units), -1, dtype=np.int64)
        weights = np.zeros(len(units))
        for i, unit in enumerate(self.units):
            if unit in place:
                cells[place[unit]] = assigned["cells"][i]
                strata[place[unit]] = -1 if assigned["strata"] is None else assigned["strata"][i]
                weights[place[unit]] = 0.0 if assigned["unit_weights"] is None else assigned["unit_weights"][i]
        return Split(
            cells=cells,
            strata=None if assigned["strata"] is None else strata,
            unit_weights=None if assigned["unit_weights"] is None else weights,
        )

    def history(self, panel: Panel) -> Panel:
        """Return the part of a panel that the design saw: its markets and its periods, nobody treated.

        Raises
        ------
        LockError
            When markets or periods of the design are missing.
        """
        data = self.content["data"]
        labels = [plain(period) for period in panel.periods]
        rows = np.isin(panel.units, self.units)
        columns = np.isin(np.array(labels, dtype=object), np.array(data["periods"], dtype=object))
        if rows.sum() < len(self.units) or columns.sum() < len(data["periods"]):
            gone = [unit for unit in self.units if unit not in panel.units]
            gone += [str(period) for period in data["periods"] if period not in labels]
            raise LockError(
                f"the table lacks {len(gone)} markets and periods that the design was drawn from: {listing(gone)}",
                remedy="keep the history in the table; the design's own draws need it",
            )
        kept = panel.only(units=rows, periods=columns)
        return kept.assigned_to(np.zeros(len(kept.units), dtype=bool), start=0)

    def searched(self, panel: Panel) -> Panel:
        """Return the part of the history that the selector saw; rules about shares and balance are about that one."""
        history = self.history(panel)
        return history.only(periods=np.arange(len(history.periods)) < self.content["data"]["n_searched"])

    def unchanged(self, panel: Panel) -> bool:
        """Tell whether the history in a panel is bit by bit the one that was sealed."""
        sealed: str = self.content["data"]["fingerprint"]
        return self.history(panel).fingerprint == sealed

    def constraints(self, history: Panel) -> Constraints:
        """Compile the design's constraints again, from the ledger alone; ``history`` is that of :meth:`searched`."""
        said = self.content["constraints"]
        columns = said["markets"]
        markets = None if columns is None else Markets(units=history.units, columns=_tuples(columns))
        return Constraints.compile(
            geo_of(said["geo"]), history, markets=markets, near=_near(said["near"], len(history.units))
        )

    def draws(self, panel: Panel, n_draws: int, *, rng: np.random.Generator) -> IntArray:
        """Redraw admissible assignments of this very design, shape (n_draws, n_units of the design).

        Parameters
        ----------
        panel
            A panel that holds the design's markets and periods; later periods are not looked at.
        n_draws
            How many.
        rng
            Seeded by the caller with the ledger's seed and a task of its own; the same generator gives the same draws.

        Raises
        ------
        LockError
            When nothing was randomised, or the history is gone.
        """
        selector = self.content["selector"]
        if not self.randomized:
            raise LockError(
                f"the markets of this design were chosen by {selector['name']!r}, not drawn: it has no draws",
                remedy="use an inference over time, such as conformal, or design with a selector that randomises",
            )
        history = self.searched(panel)
        made = SELECTORS.create(selector["name"], selector["options"])
        drawn: IntArray = made.draws(
            history, self.constraints(history), self.split(history.units), n_draws=n_draws, rng=rng
        )
        return drawn

    def assignment_csv(self) -> str:
        """Return the bytes of ``assignment.csv``: market, cell, stratum."""
        return assignment_csv(self.split(self.units), self.units, self.cells)


_RESTORE = "restore the file from where the design was kept, or design again"


def geo_of(values: Mapping[str, Any]) -> Geo:
    """Read the table ``[geo]`` back from its JSON form, in which tuples are lists."""
    return Geo.model_validate_json(canonical_json(values))


def assignment_csv(split: Split, units: Sequence[str], cells: Sequence[str]) -> str:
    """Write who is in which cell as CSV: columns market, cell, stratum (empty where nothing was randomised)."""
    names = {LEFT_OUT: LEFT_OUT_NAME, CONTROL: CONTROL_NAME, **dict(enumerate(cells, start=1))}
    strata = [""] * len(units) if split.strata is None else ["" if s < 0 else str(s) for s in split.strata.tolist()]
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["market", "cell", "stratum"])
    writer.writerows((unit, names[cell], s) for unit, cell, s in zip(units, split.cells.tolist(), strata, strict=True))
    return lines.getvalue()


def pairs_of(near: BoolArray | None) -> list[list[int]] | None:
    """Write a symmetric relation of markets as pairs of row numbers, each once; None stays None."""
    if near is None:
        return None
    upper: list[list[int]] = np.argwhere(np.triu(near | near.T, k=1)).tolist()
    return upper


def _near(pairs: Sequence[Sequence[int]] | None, n_units: int) -> BoolArray | None:
    if pairs is None:
        return None
    near = np.zeros((n_units, n_units), dtype=bool)
    for i, j in pairs:
        near[i, j] = near[j, i] = True
    return near


def _tuples(columns: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(values) for name, values in columns.items()}
