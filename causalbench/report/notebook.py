"""The executed notebook: the same evidence, computed again in a kernel of its own."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import html
import os
import signal
import tempfile
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from causalbench.artifacts import shipped
from causalbench.errors import NotebookError

_TIMEOUT = 3600
_LONGEST_SOCKET_ROOT = 60


def execute(
    study: Path, digest: str, folder: Path, *, failed: Path, name: str = "launch_readout", plan: str = ""
) -> None:
    """Run a shipped notebook on a study and write ``notebook.ipynb`` into a folder.

    Parameters
    ----------
    study
        Study file; the kernel works in its folder and the notebook names the file alone.
    digest
        What the notebook must find.
    failed
        Where a partial notebook is kept when a cell fails.
    name
        Which notebook; its last cell prints the digest of what it found.
    plan
        How the run stands to its sealed plan, in Markdown; goes under the title.

    Raises
    ------
    NotebookError
        When a cell fails, the kernel dies, or the notebook's evidence has another digest.
    """
    study = study / "study.toml" if study.is_dir() else study
    document = template(name)
    _tagged(document, "parameters").source = f"study_file = {study.name!r}"
    document.cells[0].source = f"{document.cells[0].source}\n\n{_as_text(plan)}".rstrip()
    client = NotebookClient(
        document,
        timeout=_TIMEOUT,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(study.resolve().parent)}},
    )
    try:
        _run(client)
    except (CellExecutionError, CellTimeoutError, DeadKernelError, RuntimeError) as error:
        failed.write_text(nbformat.writes(document), encoding="utf-8")
        last = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise NotebookError(
            f"the notebook failed: {last}", remedy=f"open {failed} and look at its last executed cell"
        ) from error
    found = "".join(output.get("text", "") for output in _tagged(document, "digest").outputs).strip()
    if found != digest:
        failed.write_text(nbformat.writes(document), encoding="utf-8")
        raise NotebookError(
            f"the notebook found evidence {found[:12]}, the run found {digest[:12]}",
            remedy=f"the table may have changed between the two; run again, or compare {failed}",
        )
    document.metadata.pop("language_info", None)
    (folder / "notebook.ipynb").write_text(nbformat.writes(document), encoding="utf-8")


def _run(client: NotebookClient) -> None:
    """Execute in a thread, so that an interrupt reaches this one as usual and ends the kernel too."""
    manager = client.create_kernel_manager()
    root = None if len(tempfile.gettempdir()) <= _LONGEST_SOCKET_ROOT else "/tmp"  # noqa: S108 - a private folder in it
    with tempfile.TemporaryDirectory(dir=root) as sockets, ThreadPoolExecutor(max_workers=1) as worker:
        # Sockets in a private folder: no port that another user of the machine could listen on.
        manager.transport, manager.ip = "ipc", f"{sockets}/kernel"
        running = worker.submit(lambda: asyncio.run(client.async_execute()))
        try:
            running.result()
        except (KeyboardInterrupt, SystemExit):
            pid = getattr(manager.provisioner, "pid", None)
            if pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            raise
        finally:
            wait([running])
            # A kernel that dies while it starts is cleaned up, but its clean-up stays registered and fails at exit.
            atexit.unregister(client._cleanup_kernel)  # noqa: SLF001


def template(name: str) -> nbformat.NotebookNode:
    """Read a shipped notebook from its text form, with cell names that don't change from run to run."""
    document: nbformat.NotebookNode = jupytext.read(shipped("notebooks", f"{name}.py"))
    for i, cell in enumerate(document.cells, start=1):
        cell["id"] = f"cell-{i:02d}"
    document.metadata.pop("jupytext", None)
    return document


def _as_text(markdown: str) -> str:
    """Take the meaning from signs that would make markup of a name in a sentence."""
    return html.escape(markdown, quote=False).replace("$", "&#36;").replace("`", "&#96;").replace("[", "&#91;")


def _tagged(document: nbformat.NotebookNode, tag: str) -> nbformat.NotebookNode:
    found: nbformat.NotebookNode = next(cell for cell in document.cells if tag in cell.metadata.get("tags", ()))
    return found
