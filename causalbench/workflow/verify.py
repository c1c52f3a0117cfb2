"""Holding a published run against its manifest, its sealed plan, its data, and its headline computed again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from causalbench.artifacts import EVIDENCE, MANIFEST, digest, file_digests, open_manifest, plain, seal_of, study_of
from causalbench.errors import CausalbenchError, LockError, OutputError, listing
from causalbench.geo.ledger import LEDGER, Ledger
from causalbench.study import GeoStudy
from causalbench.study.kinds import kind_of
from causalbench.wording import counted, number
from causalbench.workflow.geo_analysis import analyse_study
from causalbench.workflow.geo_design import design
from causalbench.workflow.geo_switchback_design import switchback
from causalbench.workflow.locking import lock_path
from causalbench.workflow.provenance import python_version, versions
from causalbench.workflow.readout import readout

REL_TOLERANCE = 1e-9
"""A number computed again may differ by this share: another machine may add up in another order."""

_NUMBERS = ("value", "std_error", "p_value", "posterior_tail", "interval")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that was held against another."""

    name: str
    verdict: Literal["pass", "fail", "not done"]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What became of holding a run against everything that it says of itself.

    Attributes
    ----------
    steps
        In order; what couldn't be done is named, and is no pass.
    seal
        SHA-256 of the manifest, for comparison with a copy kept elsewhere; None where the manifest itself is broken.
    """

    steps: tuple[Step, ...]
    seal: str | None

    @property
    def failures(self) -> tuple[Step, ...]:
        """Steps that found something wrong."""
        return tuple(step for step in self.steps if step.verdict == "fail")

    @property
    def complete(self) -> bool:
        """Whether every step could be done."""
        return all(step.verdict != "not done" for step in self.steps)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"verified": not self.failures, "complete": self.complete, **plain(self)}

    def require(self, folder: Path) -> None:
        """Refuse a run in which a step failed.

        Raises
        ------
        LockError
            With every failure.
        """
        if self.failures:
            lines = "\n".join(f"  - {step.name}: {step.reason}" for step in self.failures)
            raise LockError(
                f"{folder} isn't the run that was published, in {counted(len(self.failures), 'respect')}:\n{lines}",
                remedy="restore the run from where it was kept, or run the study again",
            )


def verify_run(
    folder: Path, *, study: Path | None = None, tell: Callable[[str], None] = lambda _: None
) -> Verification:
    """Hold every file of a run against the manifest, and the evidence against plan, data and headline computed again.

    Five steps: the bytes of all files; the evidence's digest in the manifest, the page and the notebook; the sealed plan; the
    data that the study reads now; the numbers of the headline. The last three need the study and its data.

    Parameters
    ----------
    folder
        A published run.
    study
        The study file, where it isn't where the manifest says any more.
    tell
        Called with one line before what takes a while.

    Returns
    -------
    Verification
        Use :meth:`Verification.require` to refuse a run that isn't what was published.

    Raises
    ------
    OutputError
        When the folder holds no run at all.
    """
    if not folder.is_dir() or not ((folder / EVIDENCE).exists() or (folder / MANIFEST).exists()):
        raise OutputError(f"{folder} holds no run", remedy=f"name a folder with {EVIDENCE} and {MANIFEST}")
    try:
        manifest = open_manifest(folder)
    except LockError as error:
        return Verification(steps=(Step(name="manifest", verdict="fail", reason=error.message),), seal=None)
    seal = seal_of(manifest)
    files = _files(folder, manifest["files"])
    if files.verdict == "fail":
        return Verification(steps=(files,), seal=seal)
    evidence = json.loads((folder / EVIDENCE).read_text("utf-8"))
    stated = _evidence(folder, manifest["evidence"], evidence)
    path = (study / "study.toml" if study.is_dir() else study) if study is not None else _named(folder, manifest)
    tell("reading the data and computing the evidence again")
    steps = [files, stated]
    if (folder / LEDGER).exists():
        steps.append(_ledger(folder))
    return Verification(steps=(*steps, *_again(evidence, path, found=manifest["evidence"])), seal=seal)


def _ledger(folder: Path) -> Step:
    try:
        seal = Ledger.load(folder / LEDGER).seal
    except LockError as error:
        return Step(name="ledger", verdict="fail", reason=error.message)
    return Step(name="ledger", verdict="pass", reason=f"its seal {seal[:12]} holds")


def _named(folder: Path, manifest: Mapping[str, Any]) -> Path | None:
    try:
        return study_of(folder, manifest["study"])
    except OutputError:
        return None


def _files(folder: Path, published: Mapping[str, str]) -> Step:
    """Compare the bytes of all files with the manifest; files that came later are named and no failure."""
    found = file_digests(folder)
    gone = [name for name in published if name not in found]
    changed = [name for name in published if name in found and found[name] != published[name]]
    extra = [name for name in found if name not in published]
    wrong = [
        f"{what}: {listing(names)}" for what, names in (("changed after publication", changed), ("gone", gone)) if names
    ]
    if wrong:
        return Step(name="files", verdict="fail", reason="; ".join(wrong))
    later = f"; not part of the run: {listing(extra)}" if extra else ""
    return Step(
        name="files",
        verdict="pass",
        reason=f"{counted(len(published), 'file')} as they were published, byte by byte{later}",
    )


def _evidence(folder: Path, stated: str, evidence: Mapping[str, Any]) -> Step:
    """Compare the evidence's own digest with what manifest, page and notebook say it is."""
    own = digest(evidence)
    wrong = [] if own == stated else [MANIFEST]
    pages = [name for name in ("report.html", "notebook.ipynb") if (folder / name).exists()]
    if "results" in evidence or "history" in evidence or not pages:
        pages = [name for name in pages if name == "notebook.ipynb"]  # pages of geo experiments don't print it
    wrong += [name for name in pages if own not in (folder / name).read_text("utf-8")]
    if wrong:
        return Step(
            name="evidence", verdict="fail", reason=f"its digest is {own[:12]}, another one stands in {listing(wrong)}"
        )
    return Step(
        name="evidence", verdict="pass", reason=f"its digest {own[:12]} stands in {listing([MANIFEST, *pages])}"
    )


def _again(evidence: Mapping[str, Any], path: Path | None, *, found: str) -> tuple[Step, ...]:
    """Compute plan, data and headline again; where the study is gone that is said, and counts as no pass."""
    names = ("plan", "data", "headline")
    if path is None or not path.parent.is_dir():
        reason = "the study isn't where it was; name it with --study"
        return tuple(Step(name=name, verdict="not done", reason=reason) for name in names)
    kind = kind_of(evidence["study"])
    try:
        study = kind.restored(evidence["study"], path=path)
        if isinstance(study, GeoStudy):
            return (_geo(evidence, study, found=found),)
        if (evidence.get("plan") or {}).get("status") not in (None, "none") and not lock_path(study).exists():
            gone = f"{lock_path(study).name} isn't beside the study any more"
            return (Step(name="plan", verdict="fail", reason=gone), *_computed(evidence, readout(study).to_dict()))
        now = readout(study).to_dict()
        return (_plan(evidence, now, lock_path(study)), *_computed(evidence, now))
    except LockError as error:
        return (Step(name="plan", verdict="fail", reason=error.message),)
    except CausalbenchError as error:
        reason = f"the study can't be computed again: {error.message}"
        failed = tuple(Step(name=name, verdict="fail", reason=reason) for name in names[1:])
        return (Step(name="plan", verdict="not done", reason=reason), *failed)


def _plan(evidence: Mapping[str, Any], now: Mapping[str, Any], lock: Path) -> Step:
    """Hold the lock beside the study, and what differs from it, against what the run says."""
    said, found = evidence.get("plan") or {"status": "none"}, now["plan"]
    if said["status"] == "none":
        later = (
            f"; {lock.name} beside the study is younger than the run and says nothing about it" if lock.exists() else ""
        )
        return Step(name="plan", verdict="pass", reason=f"no plan was sealed before this run{later}")
    if found["seal"] != said["seal"]:
        reason = f"{lock.name} has the seal {str(found['seal'])[:12]}, the run was held against {said['seal'][:12]}"
        return Step(name="plan", verdict="fail", reason=reason)
    unsaid = [line for line in found["differences"] if line not in said["differences"]]
    if unsaid:
        reason = f"differs from the seal, and the run doesn't say it: {'; '.join(unsaid)}"
        return Step(name="plan", verdict="fail", reason=reason)
    state = (
        "kept"
        if said["status"] == "kept"
        else f"changed in {counted(len(said['differences']), 'place')}, as the run says"
    )
    return Step(name="plan", verdict="pass", reason=f"sealed as {said['seal'][:12]}, {state}")


def _computed(evidence: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Step, Step]:
    """Compare the data's fingerprints, and the headline's numbers and words, with those of the evidence."""
    prints = {name: audit["fingerprint"] for name, audit in now["audits"].items()}
    other = [name for name, audit in evidence["audits"].items() if audit["fingerprint"] != prints.get(name)]
    data = Step(name="data", verdict="pass", reason=f"fingerprints of {listing(prints)} as in the evidence")
    if other:
        data = Step(name="data", verdict="fail", reason=f"the data at hand aren't those of the run: {listing(other)}")
    return data, _headline(evidence, now)


def _headline(evidence: Mapping[str, Any], now: Mapping[str, Any]) -> Step:
    main, again = _main(evidence), _main(now)
    differing = [key for key in _NUMBERS if not _close(main[key], again[key])]
    if differing:
        shown = "; ".join(f"{key} {_shown(main[key])} in the evidence, {_shown(again[key])} now" for key in differing)
        return Step(name="headline", verdict="fail", reason=f"{shown}{_versions(evidence)}")
    rest = [
        key for key in now if key not in ("plan", "audits", "provenance") and not _close(evidence.get(key), now[key])
    ]
    if rest:
        reason = f"its numbers are the same, {listing(rest)} computed again are others{_versions(evidence)}"
        return Step(name="headline", verdict="fail", reason=reason)
    reason = f"{number(again['value'], sign=True)} {main['estimand']['units']} computed again, with all that the evidence holds"
    return Step(name="headline", verdict="pass", reason=reason)


def _main(evidence: Mapping[str, Any]) -> Mapping[str, Any]:
    metric = evidence["headline"]["metric"]
    main: Mapping[str, Any] = next(item for item in evidence["estimates"] if item["metric"] == metric)
    return main


def _close(old: Any, new: Any) -> bool:
    """Tell whether two values are the same up to rounding."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return old.keys() == new.keys() and all(_close(old[key], new[key]) for key in old)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_close, old, new))
    if isinstance(old, (int, float)) and isinstance(new, (int, float)):
        return abs(old - new) <= REL_TOLERANCE * max(abs(old), abs(new))
    return bool(old == new)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return str(value.get("segments"))
    return number(value) if value is None or isinstance(value, (int, float)) else str(value)


def _versions(evidence: Mapping[str, Any]) -> str:
    then = {**evidence["provenance"]["versions"], "python": evidence["provenance"]["python"]}
    now = {**versions(), "python": python_version()}
    moved = [f"{name} {then.get(name)} then, {now[name]} now" for name in sorted(now) if then.get(name) != now[name]]
    return f" (computed with other versions: {listing(moved)})" if moved else ""


def _geo(evidence: Mapping[str, Any], study: GeoStudy, *, found: str) -> Step:
    """Compute the whole evidence of a geo run again: it holds plan, fingerprints and headline."""
    if "results" in evidence:
        now = analyse_study(study).to_dict()
    elif study.geo.switchback is None:
        now = design(study).to_dict()
    else:
        now = plain(switchback(study)[0])
    verdict: Literal["pass", "fail"] = "pass" if digest(now) == found else "fail"
    differing = [key for key in evidence if now.get(key) != evidence[key]]
    reason = f"computed again, it differs in {listing(differing)}" if differing else "the whole evidence computed again"
    return Step(name="plan, data and headline", verdict=verdict, reason=reason)
