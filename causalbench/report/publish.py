"""A run on disk: evidence, figures, page and executed notebook, published together or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from causalbench.artifacts import EVIDENCE, require_free, run_folder
from causalbench.report import notebook, page
from causalbench.study import Study
from causalbench.workflow.readout import readout

Replace = Literal["nothing", "same study", "any run"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Published:
    """A run on disk."""

    folder: Path
    evidence: dict[str, Any]


def run(
    path: Path, *, out: Path | None = None, replace: Replace = "nothing", tell: Callable[[str], None] = lambda _: None
) -> Published:
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
    study = Study.load(path)
    if out is not None:
        require_free(out, replace=_may_replace(out, replace, study))
    found = readout(study, tell=tell)
    evidence = found.to_dict()
    folder = out or Path("runs") / f"{study.study.name}-{found.digest[:12]}"
    with run_folder(folder, replace=_may_replace(folder, replace, study)) as work:
        (work / EVIDENCE).write_text(found.to_json(), encoding="utf-8")
        tell("drawing figures and writing the report")
        page.write(evidence, work)
        tell("executing the notebook")
        notebook.execute(path, found.digest, work, failed=folder.with_name(f"{folder.name}.failed.ipynb"))
    return Published(folder=folder, evidence=evidence)


def _may_replace(folder: Path, replace: Replace, study: Study) -> bool:
    return replace == "any run" or (replace == "same study" and _is_run_of(folder, study.study.name))


def _is_run_of(folder: Path, name: str) -> bool:
    try:
        evidence = json.loads((folder / EVIDENCE).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(evidence, dict) and evidence.get("study", {}).get("study", {}).get("name") == name
