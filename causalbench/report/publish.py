"""A run on disk: evidence, figures, page and executed notebook, published together or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from causalbench.artifacts import EVIDENCE, require_free, run_folder, way_to, write_manifest
from causalbench.report import notebook, page
from causalbench.study import Study, load_finished
from causalbench.workflow.readout import readout

Replace = Literal["nothing", "same study", "any run"]
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Published:
    """A run on disk; ``seal`` is that of its manifest, which a copy kept elsewhere can be compared with."""

    folder: Path
    evidence: dict[str, Any]
    seal: str = ""


class Found(Protocol):
    """What a study's answer must offer to be published."""

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical evidence."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return the evidence as plain JSON values."""
        ...

    def to_json(self) -> str:
        """Return the bytes of ``evidence.json``."""
        ...


def run(path: Path, *, out: Path | None = None, replace: Replace = "nothing", tell: Tell = lambda _: None) -> Published:
    """Answer a study file and publish evidence, notebook, report and figures in one folder.

    Parameters
    ----------
    path
        Study file or its folder.
    out
        Folder of the run; ``runs/<name>-<digest>`` by default.
    replace
        What may be overwritten: nothing, an earlier run of a study of this name, or any run.

    Raises
    ------
    CausalbenchError
        For whatever is wrong; nothing is published then and what was there stays.
    """
    study = load_finished(path)
    return publish(
        path,
        study.study.name,
        lambda: readout(study, tell=tell),
        write=page.write,
        template="launch_readout" if isinstance(study, Study) else "confounders",
        out=out,
        replace=replace,
        tell=tell,
    )


def publish(
    path: Path,
    name: str,
    answer: Callable[[], Found],
    *,
    write: Callable[[Mapping[str, Any], Path], None],
    template: str,
    out: Path | None,
    replace: Replace,
    tell: Tell,
) -> Published:
    """Publish what a study's answer found, whatever kind of study it is.

    Parameters
    ----------
    path, name
        The study file and the study's name.
    answer
        Computes the answer; called once the folder is known to be free.
    write
        Writes page and figures of the evidence into a folder.
    template
        The notebook that computes the same evidence again.
    """
    if out is not None:
        require_free(out, replace=_may_replace(out, replace, name))
    found = answer()
    evidence = found.to_dict()
    folder = out or Path("runs") / f"{name}-{found.digest[:12]}"
    with run_folder(folder, replace=_may_replace(folder, replace, name)) as work:
        (work / EVIDENCE).write_text(found.to_json(), encoding="utf-8")
        tell("drawing figures and writing the report")
        write(evidence, work)
        tell("executing the notebook")
        failed = folder.with_name(f"{folder.name}.failed.ipynb")
        notebook.execute(path, found.digest, work, failed=failed, name=template, plan=_plan_text(evidence))
        seal = write_manifest(work, evidence=found.digest, study=way_to(path, folder))
    return Published(folder=folder, evidence=evidence, seal=seal)


def _plan_text(evidence: Mapping[str, Any]) -> str:
    """Write how the run stands to its sealed plan as a paragraph and a list; nothing where no plan was sealed."""
    plan = evidence.get("plan") or {}
    if plan.get("status") not in ("kept", "changed"):
        return ""
    lines = [f"**{plan['text']}**", *(f"- {line}" for line in plan["differences"])]
    return "\n".join([lines[0], "", *lines[1:]]).strip()


def _may_replace(folder: Path, replace: Replace, name: str) -> bool:
    return replace == "any run" or (replace == "same study" and _is_run_of(folder, name))


def _is_run_of(folder: Path, name: str) -> bool:
    try:
        evidence = json.loads((folder / EVIDENCE).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(evidence, dict) and evidence.get("study", {}).get("study", {}).get("name") == name
