"""Sealing a study's plan before its outcome is read, and holding a run against the seal."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from causalbench.artifacts import digest, plain
from causalbench.data.cross_section import CrossSection
from causalbench.data.panel import Panel
from causalbench.errors import DataError, LockError, OutputError, RefusalError, StudyError, listing
from causalbench.inference import CATALOGUE as INFERENCES
from causalbench.plan.lock import NO_LOCK, Lock, LockReport, differences, report_of
from causalbench.study import AUTO, ComparisonStudy, Study
from causalbench.values import BoolArray
from causalbench.wording import counted
from causalbench.workflow.advice import resolve
from causalbench.workflow.before_launch import Schedule, history_of, require_known_units, schedule_of
from causalbench.workflow.comparison_graph import choose
from causalbench.workflow.estimate import Answer
from causalbench.workflow.method import create_estimator
from causalbench.workflow.provenance import python_version, versions
from causalbench.workflow.reading import hidden_columns, read_without_outcome

_MOST_NAMES = 1000
"""More units than these are sealed as a whole, so that a lock stays a file one can read."""
_NO_FILE = ("data",)
_Locked = Study | ComparisonStudy
L = TypeVar("L", Study, ComparisonStudy)


def lock_path(study: _Locked) -> Path:
    """Return where a study's lock is: beside the study file and by its name, ``study.lock.json``."""
    return study.path.with_name(f"{study.path.stem}.lock.json")


def lock_study(study: _Locked, *, replace: bool = False) -> Path:
    """Seal a study's plan in ``study.lock.json`` beside it; only rows before the launch are read.

    What is sealed: the values of the study file, what they come to (estimand, launches, donors, exclusions, the method with all
    its options), a fingerprint of the data before the launch, and the files that the study names. The launch may lie after the
    last row of the table. Rows from the launch on are filtered away in the engine before anything looks at an outcome.

    Parameters
    ----------
    study
        A loaded study of a launch or of a comparison at one time; for the latter no row's outcome is read.
    replace
        Whether a plan that was sealed before may be replaced; the new lock then names the seal of the old one.

    Returns
    -------
    Path
        The lock. Where the same plan is sealed there already it is left as it is.

    Raises
    ------
    LockError
        When another plan is sealed there.
    DataError, StudyError, RefusalError
        When the data before the launch can't be read, or a unit that launches isn't in them.
    OutputError
        When the file can't be written.

    Examples
    --------
    >>> import causalbench as cb, shutil, tempfile
    >>> from causalbench.data.datasets import study_path
    >>> folder = shutil.copytree(study_path("prop99").parent, tempfile.mkdtemp(), dirs_exist_ok=True)
    >>> study = cb.Study.load(folder)
    >>> lock_study(study).name, compare_lock(study).status
    ('study.lock.json', 'kept')
    """
    path, made = lock_path(study), _lock_of(study)
    if path.exists() and not (replace and _is_broken(path)):
        sealed = Lock.load(path)
        found = differences(_with_defaults(sealed, study), made)
        if not found and sealed.seals_the_same(made):
            return path
        if not replace:
            what = "\n".join(f"  - {line}" for line in found) or "  - the data have more periods before the launch"
            raise LockError(
                f"{path} seals another plan ({sealed.seal[:12]}):\n{what}",
                remedy="keep to the sealed plan, or replace it with --force before the outcome is seen; the new lock says so",
            )
        earlier = [*sealed.content["earlier_seals"], sealed.seal]
        made = Lock(content={**made.content, "earlier_seals": earlier})
    _write(path, made.to_json())
    return path


def compare_lock(study: _Locked, *, answers: Mapping[str, Answer] | None = None) -> LockReport:
    """Hold a study, the data before its launch and what a run used against the sealed plan.

    Parameters
    ----------
    study
        The study as it is now. Its data may have grown by rows from the launch on, and by later periods before it.
    answers
        By metric, what was estimated: whoever was compared with must have been in the sealed plan.

    Returns
    -------
    LockReport
        Status ``none`` where there is no lock.

    Raises
    ------
    LockError
        When the lock itself was changed.
    """
    path = lock_path(study)
    if not path.exists():
        return NO_LOCK
    sealed = Lock.load(path)
    notes: list[str] = []
    now = _lock_now(study, sealed, notes)
    found = [*differences(_with_defaults(sealed, study), now)]
    found += [line for line in _in_answers(sealed, now, answers or {}, notes) if line not in found]
    notes += _other_versions(sealed)
    return report_of(sealed, found, notes=notes)


def sealed_choice(study: L) -> L:
    """Return a study that leaves its method to the rules with the one that they chose when its plan was sealed.

    The rules look at how many periods there are after the launch, so their choice may be another by now. A study that names its
    method, or whose plan isn't sealed, comes back as it is.

    Raises
    ------
    LockError
        When the lock was changed.
    """
    path = lock_path(study)
    if study.method.name != AUTO or not path.exists():
        return study
    return _with_choice(study, Lock.load(path))


def _settled(study: L, sealed: Lock | None) -> L:
    """Put the sealed choice, or else the advised method, in the place of ``auto``."""
    return resolve(_with_choice(study, sealed))[0]


def _with_choice(study: L, sealed: Lock | None) -> L:
    chosen = None if sealed is None else sealed.content["resolved"]["method"].get("chosen")
    if study.method.name != AUTO or chosen is None:
        return study
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in chosen["options"].items()}
    method = study.method.model_copy(update={**chosen, "options": options})
    return study.model_copy(update={"method": method})


def _lock_of(study: _Locked, last: Any = None, *, sealed: Lock | None = None) -> Lock:
    """Build the lock of a study, on the history up to ``last``; by default up to the launch."""
    given = study
    if isinstance(study, ComparisonStudy):
        study = _settled(study, sealed)
        resolved, history, when = _resolved_comparison(study)
    else:
        study = _settled(study, sealed)
        schedule = schedule_of(study)
        resolved, history = _resolved_launch(study, schedule, schedule.last if last is None else last)
        when = {
            "last_period_before": schedule.last,
            "n_periods": schedule.n_periods,
            "n_from_launch": schedule.n_from_launch,
        }
    if given.method.name == AUTO:
        chosen = {
            key: plain(getattr(study.method, key)) for key in ("name", "inference", "options", "inference_options")
        }
        resolved["method"] = {**resolved["method"], "chosen": chosen}
    return Lock(
        content={
            "plan": given.to_dict(),
            "resolved": resolved,
            "history": history,
            "files": _files(study),
            "when_sealed": when,
            "made_with": {"git": _commit(study.path), "versions": versions(), "python": python_version()},
            "earlier_seals": [],
        }
    )


def _lock_now(study: _Locked, sealed: Lock, notes: list[str]) -> Lock:
    """Build the lock of a study as it is now, on the same stretch of history as the sealed one."""
    last = sealed.content["when_sealed"].get("last_period_before")
    try:
        now = _lock_of(study, last, sealed=sealed)
    except (DataError, RefusalError) as refusal:
        problem = {"problem": f"they can't be read as they were ({refusal.message})"}
        history = dict.fromkeys(sealed.content["history"], problem)
        kept = {name: sealed.content[name] for name in ("resolved", "when_sealed")}
        plan = {"plan": study.to_dict(), "files": _files(study), "history": history}
        return Lock(content={**plan, **kept, "made_with": {}, "earlier_seals": []})
    later = now.content["when_sealed"].get("last_period_before")
    if last is not None and type(later) is type(last) and later > last:
        notes.append(
            f"The plan was sealed on the data up to {last}; those from then to the launch, up to {later}, came later and are "
            "used too."
        )
    return now


def _resolved_launch(study: Study, schedule: Schedule, last: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Say what a launch's plan comes to, and fingerprint the history of every metric."""
    estimator: Any = create_estimator(study.method.name, study.method.options, seed=study.run.seed)
    panels = {metric.name: history_of(study, metric, last=last) for metric in study.metric}
    first = next(iter(panels.values()))
    if study.launch.units is not None:
        require_known_units(schedule.launches, first)
    excluded = tuple(getattr(estimator, "exclude", ()))
    units = sorted({unit for panel in panels.values() for unit in panel.units})
    require_known_units(excluded, first)
    donors = [unit for unit in units if unit not in schedule.launches and unit not in excluded]
    several = len(set(schedule.launches.values())) > 1
    start, end = plain(schedule.start), plain(study.launch.end) or "the last period in the table"
    window = f"each unit from its own launch to {end}" if several else f"{start} to {end}"
    estimand = {
        name: {
            "kind": "att",
            "weighting": "unit" if panel.weights is None else "population",
            "window": window,
            "units": panel.effect_units,
        }
        for name, panel in panels.items()
    }
    resolved = {
        "estimand": estimand,
        "launches": _few(plain(dict(sorted(schedule.launches.items())))),
        "donors": _few(donors),
        "excluded": list(excluded),
        "method": _method(study, estimator),
    }
    return resolved, {name: _fingerprint(panel) for name, panel in panels.items()}


def _resolved_comparison(study: ComparisonStudy) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Say what a comparison's plan comes to, and fingerprint everything but the outcome."""
    estimator: Any = create_estimator(study.method.name, study.method.options, seed=study.run.seed)
    columns, history, chosen = hidden_columns(study), {}, {}
    for metric in study.metric:
        covariates = choose(study, metric, columns=columns if study.dag is not None else []).covariates
        data = read_without_outcome(study, metric, covariates=covariates)
        chosen[metric.name] = list(covariates)
        history[metric.name] = _size_of(data)
    estimand = {
        "kind": "ate" if getattr(estimator, "estimand", "att") == "ate" else "att",
        "weighting": "unit" if study.data.weights is None else "population",
    }
    resolved = {
        "estimand": {metric.name: estimand for metric in study.metric},
        "covariates": chosen,
        "method": _method(study, estimator),
    }
    return resolved, history, {"outcome_exists": all(metric.column in columns for metric in study.metric)}


def _method(study: _Locked, estimator: Any) -> dict[str, Any]:
    """Write the method with every option, given or not; of an inference only one that the study names."""
    name = study.method.inference
    member = None if name is None else INFERENCES.create(name, study.method.inference_options)
    return {
        "name": study.method.name,
        "options": plain(estimator),
        "inference": name,
        "inference_options": None if member is None else plain(member),
    }


def _few(names: Any) -> Any:
    """Return names as they are, or how many and their digest where there are too many to read."""
    return names if len(names) <= _MOST_NAMES else f"{len(names):,} units, SHA-256 {digest(names)[:16]}"


def _fingerprint(panel: Panel) -> dict[str, Any]:
    """Return the digest of a history, its size, and digests by unit and period, which say where a change is."""
    n_units, n_periods = panel.outcome.shape
    rows = [_part(panel, np.arange(n_units) == i, None) for i in range(n_units)] if n_units <= _MOST_NAMES else []
    columns = (
        [_part(panel, None, np.arange(n_periods) == j) for j in range(n_periods)] if n_periods <= _MOST_NAMES else []
    )
    return {
        "fingerprint": panel.fingerprint,
        "n_units": n_units,
        "n_periods": n_periods,
        "first": panel.periods[0],
        "last": panel.periods[-1],
        "units": dict(zip(panel.units, rows, strict=True)) if rows else {},
        "periods": dict(zip((str(plain(period)) for period in panel.periods), columns, strict=True)) if columns else {},
    }


def _part(panel: Panel, units: BoolArray | None, periods: BoolArray | None) -> str:
    """Return a short digest of the values of one unit or one period, whoever else is there."""
    part = panel.only(units=units, periods=periods)
    arrays = [part.outcome, part.covariates, part.cost, part.weights if periods is None else None]
    cluster = digest(part.cluster).encode() if part.cluster is not None and periods is None else b""
    return digest(b"".join(b"-" if array is None else array.tobytes() for array in arrays) + cluster)[:12]


def _size_of(data: CrossSection) -> dict[str, Any]:
    n_units = len(data.outcome)
    return {"fingerprint": data.fingerprint, "n_units": n_units, "n_periods": 1, "n_treated": data.n_treated}


def _files(study: _Locked) -> dict[str, str]:
    """Return digests of the files beside the study that it names besides its table; empty where one isn't there."""
    found = {}
    for name in sorted(set(_named_files(study.to_dict()))):
        path = study.beside(name)
        found[name] = digest(path.read_bytes()) if path.is_file() else ""
    return found


def _named_files(values: Mapping[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, Mapping) and key not in _NO_FILE:
            yield from _named_files(value)
        elif key in ("dag", "file") and isinstance(value, str):
            yield value


def _commit(path: Path) -> dict[str, Any] | None:
    """Return the commit that is checked out where a study lies, and whether it holds the study file as it is."""
    commit = _git(path, "HEAD")
    if commit is None:
        return None
    content = path.read_bytes() if path.is_file() else b""
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    return {"commit": commit, "holds_study_file": _git(path, f"HEAD:./{path.name}") == blob}


def _git(path: Path, name: str) -> str | None:
    """Ask git for an object's name; reads the repository and runs nothing in it. None without git, commit or repository."""
    words = ["git", "-C", str(path.parent), "rev-parse", "--verify", "--quiet", name]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603 - a fixed command
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _with_defaults(sealed: Lock, study: _Locked) -> Lock:
    """Fill keys that a later version of the study file knows into a sealed plan: left out, they say what their default says."""
    plan = sealed.content["plan"]
    try:
        filled = type(study).restored(plan, path=study.path).to_dict()
    except StudyError:
        return sealed
    return Lock(content={**sealed.content, "plan": {**filled, **{k: v for k, v in plan.items() if k not in filled}}})


def _in_answers(sealed: Lock, now: Lock, answers: Mapping[str, Answer], notes: list[str]) -> Iterator[str]:
    """Compare who and what a run used with the sealed plan."""
    resolved = sealed.content["resolved"]
    known = (resolved.get("launches"), resolved.get("donors"), resolved.get("excluded", []))
    if isinstance(known[0], Mapping) and isinstance(known[1], Sequence) and not isinstance(known[1], str):
        units = {*known[0], *known[1], *known[2]}
        for metric, answer in answers.items():
            if extra := [unit for unit in answer.panel.units if unit not in units]:
                yield f"{metric}: {counted(len(extra), 'unit')} used that the sealed plan didn't know: {listing(extra)}"
            pool = [unit for unit in known[1] if unit in now.content["resolved"]["donors"]]
            if lost := [unit for unit in pool if unit not in answer.panel.units]:
                notes.append(
                    f"{metric}: the sealed rules left {counted(len(lost), 'donor')} of the pool out: {listing(lost)}."
                )
    for metric, answer in answers.items():
        planned, used = resolved["method"]["name"], answer.estimate.estimator
        if planned != used and sealed.content["plan"]["method"].get("demotion"):
            notes.append(f"{metric}: the plan's own rule put {used} in the place of {planned}.")
        elif planned != used:
            yield f"{metric}: estimated by {used}, planned was {planned}"


def _other_versions(sealed: Lock) -> Iterator[str]:
    made = sealed.content["made_with"]
    then = {**made.get("versions", {}), "python": made.get("python")}
    now = {**versions(), "python": python_version()}
    moved = [
        f"{name} {then[name]} then, {now[name]} now" for name in sorted(now) if then.get(name) not in (None, now[name])
    ]
    if moved:
        yield f"Sealed with other versions: {listing(moved)}."


def _is_broken(path: Path) -> bool:
    try:
        Lock.load(path)
    except LockError:
        return True
    return False


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, prefix=f".{path.name}.", suffix=".partial", delete=False, encoding="utf-8"
        ) as handle:
            handle.write(text)
        Path(handle.name).chmod(0o644)
        Path(handle.name).replace(path)
    except OSError as error:
        raise OutputError(f"can't write {path}: {error.strerror}", remedy="make the study's folder writable") from None
