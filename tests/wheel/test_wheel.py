"""The wheel carries notebooks and data: installed by itself, it runs the main job."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    target = folder / "site"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(target),
        str(wheel),
    ]
    subprocess.run(pip, check=True, capture_output=True)
    return target


def test_installed_wheel_runs_the_demo_from_its_own_files(installed, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    where = [sys.executable, "-c", "import causalbench; print(causalbench.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True).stdout
    assert Path(found.strip()).is_relative_to(installed)

    demo = [sys.executable, "-m", "causalbench", "demo", "--out", "run"]
    done = subprocess.run(demo, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    evidence = json.loads((tmp_path / "run" / "evidence.json").read_text("utf-8"))
    assert evidence["headline"]["verdict"] == "not shown"
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "decision.html",
        "evidence.json",
        "figures",
        "manifest.json",
        "notebook.ipynb",
        "report.html",
    }


def test_wheel_holds_shipped_files_and_no_tests(installed):
    shipped = {str(path.relative_to(installed / "causalbench" / "shipped")) for path in installed.rglob("shipped/**/*")}
    assert {
        "notebooks/launch_readout.py",
        "notebooks/did.ipynb",
        "data/castle/SOURCE.md",
        "data/castle/castle.csv",
        "data/mpdta/mpdta.csv",
        "data/geolift/study.toml",
        "data/maps/SOURCE.md",
        "data/maps/us-counties-10m.json",
        "data/maps/us-states-10m.json",
        "data/maps/world-countries-110m.json",
        "data/geolift/SOURCE.md",
        "data/prop99/prop99.csv",
    } <= shipped
    assert not (installed / "tests").exists()
