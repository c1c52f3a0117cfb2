"""Is this environment fit to run causalbench? One line per question, with a remedy where the answer is no."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from causalbench.artifacts import shipped_names
from causalbench.errors import CausalbenchError, listing
from causalbench.wording import counted

Status = Literal["ok", "warn", "fail"]

_DISTRIBUTION = "causalbench-workbench"
_WATCHED = ("numpy", "scipy", "pandas", "duckdb", "narwhals", "dowhy", "numba")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_LITTLE_SPACE = 200 * 2**20
_PROBE_SECONDS = 180

# Series without any effect: half of all one-sided tail probabilities that are right lie above .25.
_PROBE = """
import contextlib, io, json
import numpy as np, pandas as pd
from causalimpact import CausalImpact
texts = []
for seed in range(3):
    rng = np.random.default_rng(seed)
    x = 100 + rng.normal(size=100).cumsum()
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        impact = CausalImpact(pd.DataFrame({"y": 1.2 * x + rng.normal(size=100), "x": x}), [0, 69], [70, 99])
        if hasattr(impact, "run"):
            impact.run()
        text = impact.summary()
    texts.append(f"{out.getvalue()} {text or ''}")
print()
print(json.dumps(texts))
"""
_TAIL = re.compile(r"(?:p-value|tail-area probability)[^\d\n]*(\d+(?:\.\d+)?)[ \t]*(%?)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The answer to one question: what was found, and what to do about it where it isn't ``ok``."""

    name: str
    status: Status
    found: str
    remedy: str = ""


def examine(*, tell: Callable[[str], None] = lambda _: None) -> tuple[Line, ...]:
    """Answer every question about this environment; nothing is asked of the network, nothing is changed but caches.

    ``tell`` is called with one line before what may take long.
    """
    tell("using the compiled kernels (the first use after an installation or an update compiles them, up to a minute)")
    kernels = _kernels()
    if importlib.util.find_spec("causalimpact"):
        tell("calling the installed causalimpact in a process of its own")
    return (_python(), *_packages(), kernels, _threads(), _notebooks(), _shipped(), _folder(), _terminal(), _port())


def healthy(lines: tuple[Line, ...]) -> bool:
    """Tell whether nothing fails."""
    return all(line.status != "fail" for line in lines)


def as_text(lines: tuple[Line, ...]) -> str:
    """Write the lines for a terminal."""
    rows = []
    for line in lines:
        rows.append(f"{line.status:<5}{line.name:<17}{line.found}")
        if line.remedy:
            rows.append(f"{'':<22}To mend it: {line.remedy}")
    failing = sum(line.status == "fail" for line in lines)
    warned = sum(line.status == "warn" for line in lines)
    rows.append(f"\n{counted(len(lines), 'question')}: {failing} failing, {warned} to look at")
    return "\n".join(rows)


def _python() -> Line:
    found = ".".join(map(str, sys.version_info[:3]))
    try:
        allowed = metadata.metadata(_DISTRIBUTION)["Requires-Python"]
    except metadata.PackageNotFoundError:
        return Line(
            name="python",
            status="fail",
            found=f"{found}; {_DISTRIBUTION} isn't installed, this is its source alone",
            remedy=f"{sys.executable} -m pip install -c constraints.txt . in the source folder",
        )
    if Requirement(f"python{allowed}").specifier.contains(found, prereleases=True):
        return Line(name="python", status="ok", found=f"{found}, allowed {allowed}")
    return Line(
        name="python", status="fail", found=f"{found}, allowed {allowed}", remedy="make an environment with Python 3.12"
    )


def _packages() -> tuple[Line, ...]:
    """Compare what is installed with what this package and its direct dependencies ask for, caps of theirs included."""
    wanted = _wanted()
    lines = [_package(name, wanted[name]) for name in _WATCHED if name in wanted]
    others = [_package(name, asked) for name, asked in sorted(wanted.items()) if name not in _WATCHED]
    bad = [line for line in others if line.status != "ok"]
    good = Line(name="other packages", status="ok", found=f"{len(others) - len(bad)} of {len(others)} within range")
    return (*lines, *bad, good)


def _wanted() -> dict[str, dict[str, str]]:
    """Ranges that are asked for, by package and by who asks."""
    wanted: dict[str, dict[str, str]] = {}
    direct = [needed.name for needed in _requirements(_DISTRIBUTION)]
    for asking in (_DISTRIBUTION, *direct):
        for needed in _requirements(asking):
            wanted.setdefault(canonicalize_name(needed.name), {})[asking] = str(needed.specifier)
    return wanted


def _requirements(distribution: str) -> list[Requirement]:
    try:
        texts = metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:
        return []
    context: Any = {**default_environment(), "extra": ""}
    every = map(Requirement, texts)
    return [needed for needed in every if needed.marker is None or needed.marker.evaluate(context)]


def _package(name: str, asked: Mapping[str, str]) -> Line:
    first = next(iter(asked))
    capped = {who: what for who, what in asked.items() if who == first or "<" in what or "==" in what}
    ranges = "; ".join(f"{who} asks for {what}" for who, what in capped.items() if what)
    requirement = f'"{name}{asked[first]}"'
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Line(
            name=name,
            status="fail",
            found=f"not installed; {ranges}",
            remedy=f"{sys.executable} -m pip install {requirement}",
        )
    broken = [
        who for who, what in asked.items() if not Requirement(f"x{what}").specifier.contains(found, prereleases=True)
    ]
    if not broken:
        return Line(name=name, status="ok", found=f"{found}; {ranges}" if ranges else found)
    return Line(
        name=name,
        status="fail",
        found=f"{found} doesn't suit {listing(broken)}; {ranges}",
        remedy=f"install {_DISTRIBUTION} again with its constraints.txt, in an environment of its own",
    )


def _kernels() -> Line:
    """Use the compiled kernels once, so that whoever comes next doesn't wait for them."""
    import numpy as np

    name = "compiled kernels"
    remedy = "set NUMBA_CACHE_DIR to a folder that you can write to"
    start = time.perf_counter()
    try:
        from causalbench.data.panel import Panel
        from causalbench.numerics import simplex
        from causalbench.workflow.estimate import estimate

        treated = np.zeros((4, 12), dtype=bool)
        treated[0, 9:] = True
        outcome = np.random.default_rng(0).normal(size=treated.shape)
        panel = Panel(outcome=outcome, treated=treated, units=("a", "b", "c", "d"), periods=tuple(range(12)))
        for method in ("synthetic-control", "causal-impact"):
            estimate(panel, method)
    except (RuntimeError, OSError, ImportError) as error:
        return Line(name=name, status="fail", found=f"can't be compiled or kept: {error}", remedy=remedy)
    seconds = time.perf_counter() - start
    kept = Path(next(f for f in vars(simplex).values() if hasattr(f, "stats")).stats.cache_path)
    if not os.access(kept, os.W_OK):
        return Line(
            name=name, status="warn", found=f"{kept} can't be written: every start compiles again", remedy=remedy
        )
    said = (
        f"ready after {seconds:.1f} s, kept in {kept}; the first call after an installation or an update compiles them"
    )
    return Line(name=name, status="ok", found=said)


def _threads() -> Line:
    cores = len(os.sched_getaffinity(0))
    limits = {key: os.environ[key] for key in _THREADS if os.environ.get(key)}
    said = ", ".join(f"{key}={value}" for key, value in limits.items()) or "no limit set"
    beyond = [key for key, value in limits.items() if value.isdigit() and int(value) > cores]
    if beyond:
        return Line(
            name="threads",
            status="warn",
            found=f"{counted(cores, 'core')}, {said}",
            remedy=f"set {listing(beyond)} to at most {cores}; answers are the same, only slower",
        )
    return Line(
        name="threads", status="ok", found=f"{counted(cores, 'core')}, {said}; answers are the same with any number"
    )


def _notebooks() -> Line:
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    remedy = f"{sys.executable} -m pip install ipykernel && {sys.executable} -m ipykernel install --sys-prefix"
    if importlib.util.find_spec("ipykernel") is None:
        return Line(name="notebook kernel", status="fail", found="ipykernel isn't installed", remedy=remedy)
    try:
        program = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except NoSuchKernel:
        return Line(name="notebook kernel", status="fail", found="there is no kernel python3", remedy=remedy)
    if Path(program).is_absolute() and Path(program).parent != Path(sys.executable).parent:
        return Line(
            name="notebook kernel",
            status="warn",
            found=f"kernel python3 starts {program}, not this environment's Python",
            remedy=f"{sys.executable} -m ipykernel install --sys-prefix",
        )
    return Line(name="notebook kernel", status="ok", found="python3, of this environment")


def _shipped() -> Line:
    from causalbench.data import datasets

    try:
        found, notebooks = datasets.names(), shipped_names("notebooks", ".ipynb")
    except CausalbenchError:
        found, notebooks = (), ()
    said = f"launches: {', '.join(found) or 'none'}; notebooks: {', '.join(notebooks) or 'none'}"
    if found and notebooks:
        return Line(name="shipped files", status="ok", found=said)
    remedy = "install the package again; its wheel carries data/ and notebooks/"
    return Line(name="shipped files", status="fail", found=said, remedy=remedy)


def _folder() -> Line:
    folder = Path.cwd()
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        remedy = "go to a folder of your own, or name one with --out"
        return Line(
            name="working folder", status="fail", found=f"{folder} can't be written: {error.strerror}", remedy=remedy
        )
    free = shutil.disk_usage(folder).free
    said = f"{folder}, {free // 2**20:,} MiB free"
    if free < _LITTLE_SPACE:
        return Line(name="working folder", status="warn", found=said, remedy="free some space before a run")
    return Line(name="working folder", status="ok", found=said)


def _terminal() -> Line:
    encoding = (sys.stdout.encoding or "none").lower()
    colour = "NO_COLOR is set" if "NO_COLOR" in os.environ else "NO_COLOR isn't set"
    said = f"encoding {encoding}; {colour}, output is without colour either way"
    if encoding.replace("-", "") == "utf8":
        return Line(name="terminal", status="ok", found=said)
    return Line(
        name="terminal", status="warn", found=said, remedy="set PYTHONUTF8=1, so that names with accents can be printed"
    )


def _port() -> Line:
    """Tell whether PyPI's ``causalimpact`` works, where it is installed; the engine here doesn't need it."""
    name = "causalimpact"
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Line(
            name=name,
            status="ok",
            found="not installed and not needed: causalbench.CausalImpact answers the same call. Release 0.2.6 fails on every "
            f"call with pandas 2.1 and later; newer ones are listed by: {sys.executable} -m pip index versions causalimpact",
        )
    trouble, tails = _probe()
    if trouble:
        return Line(
            name=name,
            status="warn",
            found=f"{version} doesn't work here: {trouble}",
            remedy=f"{sys.executable} -m pip uninstall causalimpact, and call causalbench.CausalImpact",
        )
    said = f"on 3 series without effect it prints p = {', '.join(tails) or 'nothing'}"
    if not any(float(tail) > 0 for tail in tails):
        return Line(
            name=name,
            status="warn",
            found=f"{version} runs, and {said}: its p can't be relied on",
            remedy="call causalbench.CausalImpact",
        )
    return Line(name=name, status="ok", found=f"{version} works here: {said}")


def _probe() -> tuple[str, list[str]]:
    """Call it in a process of its own; return what went wrong, or the p that it printed for series without effect."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(  # noqa: S603 - this interpreter, on the program above
                [sys.executable, "-c", _PROBE],
                capture_output=True,
                check=False,
                text=True,
                timeout=_PROBE_SECONDS,
                cwd=folder,
            )
        except subprocess.TimeoutExpired:
            return f"no answer within {_PROBE_SECONDS} s", []
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        return last[0] if last else f"it ends with code {done.returncode}", []
    texts: list[str] = json.loads(done.stdout.strip().splitlines()[-1])
    found = [match for match in map(_TAIL.search, texts) if match]
    return "", [f"{float(match[1]) / (100 if match[2] else 1):.3g}" for match in found]
