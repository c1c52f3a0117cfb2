"""The sealed plan: what was decided before the outcome was seen, and in plain words what has changed since."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from causalbench.artifacts import open_sealed, plain, seal_of, sealed_json
from causalbench.errors import listing
from causalbench.wording import counted

EXPLORATORY = "EXPLORATORY"
_SECTIONS = ("plan", "resolved", "history", "files", "when_sealed", "made_with", "earlier_seals")
_COMPARED = ("plan", "resolved", "history", "files")
_RESTORE = (
    "restore the lock from where it was kept; without it, remove the file: the run then says that no plan was sealed"
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lock:
    """A plan under a seal: the SHA-256 of the canonical JSON of everything else in the file.

    Attributes
    ----------
    content
        Sections of the file, plain JSON values. Compared with a run: ``plan`` (the values of the study file, defaults
        included: question, windows, metrics with their roles and margins, method, value function, rules), ``resolved`` (what
        they came to: estimand, units that launch, donors, exclusions, the method's options with their defaults), ``history``
        (by metric: a fingerprint of everything before the launch, its size, and digests by unit and period, which say where a
        change is), ``files`` (digests of files that the study names). For the record: ``when_sealed`` (which periods the table
        had), ``made_with`` (commit, versions), ``earlier_seals``.

    Examples
    --------
    >>> lock = Lock(content={name: {} for name in _SECTIONS} | {"earlier_seals": []})
    >>> other = Lock(content={**lock.content, "plan": {"run": {"seed": 1}}})
    >>> lock.seal == other.seal, differences(lock, other)
    (False, ('[run] seed: not set when sealed, 1 now',))
    """

    content: Mapping[str, Any]

    def __post_init__(self) -> None:
        if set(self.content) != set(_SECTIONS):
            raise ValueError(f"a lock has the sections {', '.join(_SECTIONS)}")
        object.__setattr__(self, "content", plain(self.content))

    @property
    def seal(self) -> str:
        """SHA-256 of the canonical JSON of everything but the seal."""
        return seal_of(self.content)

    def to_json(self) -> str:
        """Return the bytes of the lock's file."""
        return sealed_json(self.content)

    @classmethod
    def load(cls, path: Path) -> Lock:
        """Read a lock and hold every byte of it against its seal.

        Raises
        ------
        LockError
            When it can't be read, or a byte of it was changed.
        """
        absent = "seal a plan with causalbench lock"
        return cls(content=open_sealed(path, _SECTIONS, what="lock", absent=absent, remedy=_RESTORE))

    def seals_the_same(self, other: Lock) -> bool:
        """Tell whether two locks hold the same plan on the same history, whenever and with whatever they were made."""
        return all(self.content[name] == other.content[name] for name in _COMPARED)


def differences(sealed: Lock, now: Lock) -> tuple[str, ...]:
    """Say in plain words where a plan isn't the sealed one; none: it was kept.

    Parameters
    ----------
    sealed
        The lock.
    now
        What would be sealed now, on the same part of the history.
    """
    before, after = sealed.content, now.content
    found = [
        *_in_plan(before["plan"], after["plan"]),
        *_in_resolved(before["resolved"], after["resolved"], before["plan"], after["plan"]),
        *_in_history(before["history"], after["history"]),
        *_in_files(before["files"], after["files"]),
    ]
    return tuple(dict.fromkeys(found))


def _in_plan(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Compare the values of two study files; metrics by their name."""
    for table in sorted(before.keys() | after.keys()):
        old, new = before.get(table), after.get(table)
        if table == "metric":
            yield from _in_metrics(old or [], new or [])
        elif isinstance(old, Mapping) or isinstance(new, Mapping):
            yield from _in_table(old or {}, new or {}, f"[{table}]")
        elif not _same(old, new):
            yield f"{table}: {_change(old, new)}"


def _in_metrics(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    old, new = ({item["name"]: item for item in items} for items in (before, after))
    if gone := [name for name in old if name not in new]:
        yield f"{_metrics(gone)} of the sealed plan {'is' if len(gone) == 1 else 'are'} no longer in the study"
    if added := [name for name in new if name not in old]:
        yield f"{_metrics(added)} {'was' if len(added) == 1 else 'were'} added after the plan was sealed"
    shared = [name for name in old if name in new]
    if shared != [name for name in new if name in old]:
        yield f"metrics are in another order, which decides the headline: {listing(old)} when sealed, {listing(new)} now"
    for name in shared:
        yield from _in_table(old[name], new[name], f"metric {name!r}:")


def _metrics(names: Sequence[str]) -> str:
    return f"metric {names[0]!r}" if len(names) == 1 else f"metrics {listing(map(repr, names))}"


def _in_table(before: Mapping[str, Any], after: Mapping[str, Any], where: str) -> Iterator[str]:
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if isinstance(old, Mapping) or isinstance(new, Mapping):
            inner = f"{where[:-1]}.{key}]" if where.endswith("]") else f"{where} {key}"
            yield from _in_table(old or {}, new or {}, inner)
        elif not _same(old, new):
            yield f"{where} {key}: {_change(old, new)}"


def _same(old: Any, new: Any) -> bool:
    """Tell whether two values say the same; a key that isn't there says what an empty one does."""
    return bool(old == new) or (_unset(old) and _unset(new))


def _unset(value: Any) -> bool:
    return value is None or value in ([], {}, "")


def _change(old: Any, new: Any) -> str:
    """Say what became of a value, of a list by its members."""
    if isinstance(old, list) and isinstance(new, list) and old and new:
        return _moved(old, new, added="added", lost="dropped") or "the same in another order"
    return f"{_value(old)} when sealed, {_value(new)} now"


def _moved(old: Sequence[Any], new: Sequence[Any], *, added: str, lost: str) -> str:
    parts = [
        (added, [str(item) for item in new if item not in old]),
        (lost, [str(item) for item in old if item not in new]),
    ]
    return "; ".join(f"{verb} {listing(names)}" for verb, names in parts if names)


def _value(value: Any) -> str:
    if _unset(value):
        return "not set"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return listing(value)
    return f'"{value}"' if isinstance(value, str) else str(value)


def _in_resolved(
    before: Mapping[str, Any], after: Mapping[str, Any], sealed: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterator[str]:
    """Compare what the plans came to; what only follows from a key that changed is said there already."""
    for key, what in (("launches", "units that launch, and when"), ("donors", "donor pool")):
        old, new = before.get(key), after.get(key)
        own = key == "launches" and not _same(sealed.get("launch"), now.get("launch"))
        if old != new and not own:
            yield f"{what}: {_members(old, new)}"
    causes = {"method": ("method", "run"), "estimand": ("launch", "data", "metric"), "covariates": ("data", "dag")}
    for key, tables in causes.items():
        old, new = before.get(key) or {}, after.get(key) or {}
        if old != new and all(_same(sealed.get(table), now.get(table)) for table in tables):
            yield from _in_table(old, new, f"{key}:")


def _members(old: Any, new: Any) -> str:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        moved = _moved(list(old), list(new), added="added", lost="dropped")
        other = [
            f"{unit} launches {new[unit]}, {old[unit]} when sealed"
            for unit in old
            if old[unit] != new.get(unit, old[unit])
        ]
        return "; ".join(part for part in (moved, listing(other)) if part)
    if isinstance(old, list) and isinstance(new, list):
        return _moved(old, new, added="gained", lost="lost")
    return _change(old, new)


def _in_history(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Say which of the data before the launch aren't those sealed."""
    for metric in before:
        old, new = before[metric], after.get(metric)
        if new is not None and old != new:
            part = "apart from the outcome" if "n_treated" in old else "before the launch"
            yield f"the data of {metric} {part} aren't those sealed: {_where(old, new)}"


def _where(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    if "problem" in new:
        return str(new["problem"])
    parts = []
    for key, one, other in (("units", "unit", "periods"), ("periods", "period", "units")):
        was, now = old.get(key) or {}, new.get(key) or {}
        if moved := _moved(list(was), list(now), added=f"{one}s added:", lost=f"{one}s gone:"):
            parts.append(moved)
        changed = [name for name in was if name in now and was[name] != now[name]]
        if changed and (old.get(other) or {}).keys() == (new.get(other) or {}).keys():
            parts.append(f"values of {counted(len(changed), one)} changed: {listing(changed)}")
    size = [f"{counted(side['n_units'], 'unit')} and {counted(side['n_periods'], 'period')}" for side in (old, new)]
    if not parts and size[0] != size[1]:
        parts.append(f"{size[0]} when sealed, {size[1]} now")
    return "; ".join(parts) or "some of their values changed"


def _in_files(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(before.keys() & after.keys()):
        if before[name] != after[name]:
            yield f"the file {name} was changed" if after[name] else f"the file {name} isn't there any more"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockReport:
    """How a run stands to a sealed plan.

    Attributes
    ----------
    status
        ``none`` (nothing was sealed), ``kept`` or ``changed``.
    stamp
        What every artefact of a changed plan is marked with; empty otherwise.
    text
        The status in one or two sentences.
    differences
        What isn't as sealed, one sentence each.
    notes
        What is worth knowing and no deviation.
    limits
        What a hash can't prove, one sentence each; empty where nothing was sealed.
    seal
        The lock's own SHA-256.
    sealed
        What the lock says of its making: ``when_sealed``, ``made_with``, ``earlier_seals``.
    """

    status: str
    stamp: str = ""
    text: str
    differences: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    seal: str | None = None
    sealed: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON values: the evidence's ``plan``."""
        found: dict[str, Any] = plain(self)
        return found


NO_LOCK = LockReport(
    status="none",
    text="No plan was sealed before the readout, so nothing here shows that metrics, method and window were chosen before "
    "the outcome was seen.",
)


_NOT_WHEN = (
    "A hash shows that the plan is the one that was sealed, not when that was: a date in a file can be written by anyone. "
    "A commit, a ticket or a message from before the launch that quotes the seal can show it."
)


def report_of(sealed: Lock, found: Sequence[str], *, notes: Sequence[str] = ()) -> LockReport:
    """Report on a lock and what differs from it."""
    short = sealed.seal[:12]
    text = f"The plan sealed as {short} was kept: nothing in this run differs from it."
    if found:
        text = (
            f"{EXPLORATORY}: this run differs from its sealed plan ({short}) in {counted(len(found), 'place')}, so it "
        )
        text += "explores; it doesn't confirm what was planned."
    return LockReport(
        status="changed" if found else "kept",
        stamp=EXPLORATORY if found else "",
        text=text,
        differences=tuple(found),
        notes=tuple(notes),
        limits=limits_of(sealed),
        seal=sealed.seal,
        sealed={name: sealed.content[name] for name in ("when_sealed", "made_with", "earlier_seals")},
    )


def limits_of(sealed: Lock) -> tuple[str, ...]:
    """Say what this lock can't show."""
    when, earlier = sealed.content["when_sealed"], sealed.content["earlier_seals"]
    n_later, plan = when.get("n_from_launch") or 0, sealed.content["plan"]
    limits = [_NOT_WHEN]
    if n_later:
        limits.append(
            f"It can't show that nobody had seen the outcome: when the plan was sealed, the table already held "
            f"{counted(n_later, 'period')} from the launch on. Sealing read no outcome in them; a person, or this tool's own "
            "check and run, could."
        )
    elif when.get("outcome_exists"):
        limits.append(
            "It can't show that nobody had seen the outcome: when the plan was sealed, the table already held it. Sealing didn't "
            "read it; a person, or this tool's own check and run, could."
        )
    else:
        limits.append("It can't show that nobody had seen the outcome by other means than this tool.")
    sealed_before = f" This plan replaced {counted(len(earlier), 'earlier seal')}." if earlier else ""
    limits.append(
        f"It can't show that this was the only plan: whoever can change the file can seal it again.{sealed_before}"
    )
    launch = plan.get("launch") or {}
    if "end" in launch and launch["end"] is None:
        limits.append(
            "The plan names no end of the launch, so the window runs to the last period in the table: when to look was not "
            "sealed."
        )
    if not (sealed.content["resolved"].get("method") or {}).get("inference"):
        limits.append("The plan names no inference: the method's own rule chose it when the data were there.")
    return tuple(limits)
