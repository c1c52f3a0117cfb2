"""Canonical JSON, hashes, atomic run folders and the resolver for shipped files."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import enum
import errno
import fcntl
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from causalbench.errors import LockError, OutputError, ResourceError

EVIDENCE = "evidence.json"
MANIFEST = "manifest.json"
_SHIPPED = "shipped:"
_MANIFEST_SECTIONS = ("evidence", "files", "study")


def plain(value: Any) -> Any:
    """Turn value objects, arrays and dates into what JSON can hold; numbers that aren't finite become null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if isinstance(value, (dt.date, dt.datetime)):
        return value.isoformat()
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int, bool)):
        return value
    raise TypeError(f"{type(value).__name__} has no canonical JSON form")


def canonical_json(value: Any, *, indent: int | None = None) -> str:
    """Serialise with sorted keys and shortest round-trip floats: equal values give equal bytes."""
    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(
        plain(value), sort_keys=True, ensure_ascii=False, allow_nan=False, indent=indent, separators=separators
    )


def digest(value: Any) -> str:
    """Return the SHA-256 of bytes, or of the canonical JSON of anything else."""
    data = value if isinstance(value, bytes) else canonical_json(value).encode()
    return hashlib.sha256(data).hexdigest()


def seal_of(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the canonical JSON of a sealed file's sections."""
    return digest({"schema": 1, **content})


def sealed_json(content: Mapping[str, Any]) -> str:
    """Return the bytes of a sealed file: its sections, a digest of each, and one of them all.

    A seal without a key stops no forger: who changes the file can seal it again. It shows accidents and careless changes, and
    together with a copy of the seal that was kept elsewhere any change at all.
    """
    sections = {name: digest(value) for name, value in content.items()}
    whole = {"schema": 1, **content, "seal": {"sha256": seal_of(content), "sections": sections}}
    return canonical_json(whole, indent=1) + "\n"


def open_sealed(path: Path, sections: Sequence[str], *, what: str, absent: str, remedy: str) -> dict[str, Any]:
    """Read the sections of a sealed file and hold every byte of it against the seal.

    Parameters
    ----------
    sections
        The names that it must have.
    what
        What the file is called in messages.
    absent, remedy
        What to do where it can't be read, and where it was changed.

    Raises
    ------
    LockError
        When it can't be read, or a byte of it was changed.
    """
    try:
        text = path.read_bytes().decode("utf-8")
        found = json.loads(text)
    except OSError as error:
        raise LockError(f"{path} can't be read: {error.strerror}", remedy=absent) from None
    except (ValueError, RecursionError):
        raise LockError(f"{path} is no {what}: it isn't valid JSON", remedy=remedy) from None
    seal = found.get("seal") if isinstance(found, dict) else None
    if not isinstance(seal, dict) or not isinstance(seal.get("sections"), dict):
        raise LockError(f"{path} is no {what}: it has no seal", remedy=remedy)
    content = {name: value for name, value in found.items() if name not in ("schema", "seal")}
    missing, extra = [s for s in sections if s not in content], sorted(set(content) - set(sections))
    if missing or extra:
        raise LockError(
            f"{path}: a {what} has the sections {', '.join(sections)}; missing {missing}, unknown {extra}",
            remedy=remedy,
        )
    changed = [name for name in sections if digest(content[name]) != seal["sections"].get(name)]
    if changed:
        raise LockError(f"{path} was changed after it was sealed, in: {', '.join(changed)}", remedy=remedy)
    if seal_of(content) != seal.get("sha256"):
        raise LockError(f"{path} was changed after it was sealed: the seal itself", remedy=remedy)
    if sealed_json(content) != text:
        raise LockError(f"{path} was written again by another program: its bytes aren't those sealed", remedy=remedy)
    return content


def write_manifest(folder: Path, *, evidence: str, study: str) -> str:
    """Seal a run: the digest of every file in its folder, of its evidence, and where its study is from there.

    Returns
    -------
    str
        The seal.
    """
    content = {"evidence": evidence, "files": file_digests(folder), "study": study}
    (folder / MANIFEST).write_text(sealed_json(content), encoding="utf-8")
    return seal_of(content)


def open_manifest(folder: Path) -> dict[str, Any]:
    """Read a run's manifest and hold it against its own seal.

    Raises
    ------
    LockError
        When there is none, or a byte of it was changed.
    """
    remedy = "the files can't be held against it any more; restore it from where the run was kept, or run again"
    absent = "name the folder of a run; one made before there were manifests has to be run again"
    return open_sealed(folder / MANIFEST, _MANIFEST_SECTIONS, what="manifest", absent=absent, remedy=remedy)


def way_to(study: Path, folder: Path) -> str:
    """Return a study file's path as seen from the folder of its run; of a shipped one what :func:`study_of` finds anywhere."""
    file = (study / "study.toml" if study.is_dir() else study).resolve()
    try:
        return f"{_SHIPPED}{file.relative_to(shipped('data').resolve()).as_posix()}"
    except (ValueError, OutputError):
        return Path(os.path.relpath(file, folder.resolve())).as_posix()


def study_of(folder: Path, way: str) -> Path:
    """Return the study file that a run's manifest names; it may be gone by now."""
    return shipped("data", way.removeprefix(_SHIPPED)) if way.startswith(_SHIPPED) else folder / way


def file_digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file in a folder but for its manifest."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)
    return {path.relative_to(folder).as_posix(): digest(path.read_bytes()) for path in paths}


def shipped(*parts: str) -> Path:
    """Locate a file of ``data/`` or ``notebooks/``, in an installed wheel and in a checkout alike."""
    package = Path(__file__).resolve().parent
    for root in (package / "shipped", package.parent):
        candidate = root.joinpath(*parts)
        if candidate.exists():
            return candidate
    raise OutputError(
        f"{'/'.join(parts)} is missing from this installation",
        remedy="install the package again; its wheel carries data/ and notebooks/",
    )


def shipped_names(folder: str, ending: str) -> tuple[str, ...]:
    """List the shipped files of one kind without their ending, sorted; none where the installation is incomplete."""
    try:
        return tuple(sorted(path.stem for path in shipped(folder).glob(f"*{ending}")))
    except OutputError:
        return ()


@contextlib.contextmanager
def run_folder(target: Path, *, replace: bool) -> Iterator[Path]:
    """Yield a folder under a temporary name that becomes ``target`` only when the block succeeds.

    An existing run is kept unless ``replace`` is true, and what isn't a run is never removed. A second process that
    wants the same target is turned away. On any failure the temporary folder goes and ``target`` stays as it was.
    """
    require_free(target, replace=replace)
    parent = target.parent
    with _lock(parent / f".{target.name}.lock", target):
        require_free(target, replace=replace)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=parent))
        try:
            yield work
            work.chmod(0o755)
            _swap(work, target)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                free = shutil.disk_usage(parent).free // 2**20
                raise ResourceError(
                    f"the disk is full: {free} MiB free at {parent}", remedy="free some space and run again"
                ) from error
            raise
        finally:
            shutil.rmtree(work, ignore_errors=True)


def is_run(folder: Path) -> bool:
    """Tell whether a folder holds a published run."""
    return (folder / EVIDENCE).is_file()


def require_free(target: Path, *, replace: bool) -> None:
    """Refuse a folder that can't be written or holds something else; cheap, so that it can come before computing."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
        occupied = target.exists() and not (target.is_dir() and not any(target.iterdir()))
    except OSError as error:
        raise OutputError(f"can't write to {target}: {error.strerror}", remedy="name another folder") from error
    if occupied and not is_run(target):
        raise OutputError(
            f"{target} exists and isn't a run of this tool, so it is left alone",
            remedy="name another folder with --out",
        )
    if occupied and not replace:
        raise OutputError(
            f"{target} already holds a run", remedy="name another folder with --out, or replace it with --force"
        )


@contextlib.contextmanager
def _lock(path: Path, target: Path) -> Iterator[None]:
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A lock on a file that its former holder has just removed protects nothing.
            stale = not path.exists() or path.stat().st_ino != os.fstat(handle.fileno()).st_ino
        except BlockingIOError:
            stale = True
        if stale:
            raise OutputError(
                f"another run is writing {target} now", remedy="wait for it, or name another folder with --out"
            )
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _swap(work: Path, target: Path) -> None:
    if not target.exists():
        work.rename(target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".old", dir=target.parent))
    target.rename(old / "run")
    try:
        work.rename(target)
    except OSError:
        (old / "run").rename(target)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
