"""The plan of the house: who imports whom, how large a module may be, and what a public signature looks like."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import causalbench
from causalbench.estimators import CATALOGUE as ESTIMATORS
from causalbench.inference import CATALOGUE as INFERENCES
from causalbench.protocols import Requirements
from causalbench.values import MethodCard

PACKAGE = Path(causalbench.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 600

# A room may import the rooms of the lines below its own, and itself; rooms of one line don't import each other.
FLOORS = (
    ("__main__",),
    ("cli",),
    ("doctor", "facade"),
    ("report",),
    ("workflow",),
    ("decision",),
    ("calibration",),
    ("plan",),
    ("geo",),
    ("checks",),
    ("estimators", "inference"),
    ("data",),
    ("study",),
    ("protocols",),
    ("values",),
    ("numerics",),
    ("dag",),
    ("artifacts", "catalogue"),
    ("errors",),
)
FLOOR = {room: height for height, floor in enumerate(reversed(FLOORS)) for room in floor}
# Numbers as words for the reader: imports no room, so every room may use it.
LEAVES = {"wording"}
HEAVY = ("numpy", "pandas", "matplotlib", "duckdb", "scipy", "numba", "linearmodels", "narwhals", "pyarrow")

every_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
every_member = pytest.mark.parametrize(
    "member",
    [room.load(name) for room in (ESTIMATORS, INFERENCES) for name in room.names()],
    ids=lambda member: member.__name__,
)


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the dotted name of every import, wherever in the module it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide which room is meant"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def public_functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield module-level functions and methods of classes whose names are public."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("_"):
            yield node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from (
                member
                for member in node.body
                if isinstance(member, (ast.FunctionDef, ast.AsyncFunctionDef)) and not member.name.startswith("_")
            )


@every_module
def test_room_imports_only_rooms_below_it(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        return
    targets = {name.split(".")[1] for name in imported(parse(path)) if name.startswith("causalbench.")}
    targets -= {room, "__version__"} | LEAVES
    height = -1 if room in LEAVES else FLOOR[room]
    above = {target for target in targets if FLOOR[target] >= height}
    assert not above, f"{room} imports {', '.join(sorted(above))}"


def test_report_reads_nothing_but_the_evidence() -> None:
    pages = [path for path in MODULES if room_of(path) == "report" and not path.name.endswith("publish.py")]
    names = {name for path in pages for name in imported(parse(path))}
    rooms = {name.split(".")[1] for name in names if name.startswith("causalbench.")}
    assert rooms <= {"report", "artifacts", "errors", *LEAVES}


def test_every_room_has_a_floor() -> None:
    rooms = {room_of(path) for path in MODULES} - {"__init__", "shipped"}
    assert rooms <= FLOOR.keys() | LEAVES


@every_module
def test_module_is_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize(
    ("room", "libraries"),
    [
        ("numerics", {"pandas", "narwhals", "duckdb"}),
        ("values", {"pandas", "scipy"}),
        ("errors", {"numpy", "pandas"}),
        ("artifacts", {"numpy", "pandas"}),
        ("catalogue", {"numpy", "pandas"}),
        ("study", {"numpy", "pandas"}),
        ("estimators", {"duckdb", "narwhals", "pyarrow"}),
        ("inference", {"pandas", "duckdb", "narwhals"}),
    ],
)
def test_room_does_without(room: str, libraries: set[str]) -> None:
    paths = [path for path in MODULES if room_of(path) == room]
    assert paths
    found = {name.split(".")[0] for path in paths for name in imported(parse(path))}
    assert not found & libraries


@every_module
def test_only_the_report_draws_and_runs_notebooks(path: Path) -> None:
    found = {name.split(".")[0] for name in imported(parse(path))}
    assert room_of(path) == "report" or not found & {"matplotlib", "nbclient"}


@every_module
def test_public_signatures_take_no_arbitrary_keywords(path: Path) -> None:
    assert [f.name for f in public_functions(parse(path)) if f.args.kwarg is not None] == []


@every_module
def test_public_signatures_take_no_positional_switches(path: Path) -> None:
    switches = []
    for function in public_functions(parse(path)):
        is_command = room_of(path) == "cli"
        positional = [*function.args.posonlyargs, *function.args.args]
        defaults = [None] * (len(positional) - len(function.args.defaults)) + list(function.args.defaults)
        for argument, default in zip(positional, defaults, strict=True):
            by_name = argument.annotation is not None and ast.unparse(argument.annotation) == "bool"
            by_value = isinstance(default, ast.Constant) and isinstance(default.value, bool)
            # Flags of the command line are named on the command line: typer never passes them by position.
            if (by_name or by_value) and not is_command:
                switches.append(f"{function.name}({argument.arg})")
    assert switches == []


@every_module
def test_dataclasses_are_frozen_and_keyword_only(path: Path) -> None:
    loose = []
    for node in ast.walk(parse(path)):
        if not isinstance(node, ast.ClassDef):
            continue
        for decorator in node.decorator_list:
            text = ast.unparse(decorator)
            if "dataclass" in text and not (
                "frozen=True" in text and ("kw_only=True" in text or node.name == "Catalogue")
            ):
                loose.append(node.name)
    assert loose == []


@pytest.mark.parametrize(
    "name", [name for name in causalbench.__all__ if inspect.isfunction(getattr(causalbench, name))]
)
def test_options_of_public_functions_are_keyword_only(name: str) -> None:
    parameters = inspect.signature(getattr(causalbench, name)).parameters.values()
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert len(positional) <= 2
    assert all(p.default is p.empty for p in positional)


def test_face_has_at_most_fifteen_names_and_all_resolve() -> None:
    assert len(causalbench.__all__) <= 15
    assert all(hasattr(causalbench, name) for name in causalbench.__all__)
    assert list(causalbench.__all__) == sorted(causalbench.__all__)


@pytest.mark.parametrize("module", ["causalbench", "causalbench.cli", "causalbench.errors", "causalbench.catalogue"])
def test_import_loads_no_heavy_library(module: str) -> None:
    program = f"import sys, {module}\nprint(*sorted(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_listing_a_room_imports_none_of_its_modules() -> None:
    program = """
import sys
from causalbench.catalogue import Catalogue
for room in ("causalbench.estimators", "causalbench.inference"):
    for name in Catalogue(room, "method").names():
        print(f"{room}.{name.replace('-', '_')}" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"False"}


@every_member
def test_member_is_a_frozen_dataclass_with_a_card(member: type[Any]) -> None:
    assert dataclasses.is_dataclass(member)
    assert member.__dataclass_params__.frozen
    assert all(field.kw_only for field in dataclasses.fields(member))
    card = member.card
    assert isinstance(card, MethodCard)
    assert all(getattr(card, field.name) for field in dataclasses.fields(card))
    assert all(link.startswith("https://") for _, link in card.references)


@every_member
def test_member_says_what_it_estimates_in_its_docstring(member: type[Any]) -> None:
    assert member.__doc__
    assert ".. math::" in member.__doc__ or ":math:" in member.__doc__
    assert inspect.getdoc(member.infer if hasattr(member, "infer") else member.fit)


@pytest.mark.parametrize("name", ESTIMATORS.names())
def test_estimator_declares_what_it_needs_and_what_goes_with_it(name: str) -> None:
    member = ESTIMATORS.load(name)
    assert isinstance(member.requires, Requirements)
    assert member.inferences
    assert set(member.inferences) <= set(INFERENCES.names())
    assert f"({name})" in member.card.title


@pytest.mark.parametrize("name", INFERENCES.names())
def test_inference_is_named_in_its_card_and_used_by_an_estimator(name: str) -> None:
    assert f"({name})" in INFERENCES.load(name).card.title
    assert any(name in ESTIMATORS.load(estimator).inferences for estimator in ESTIMATORS.names())


@pytest.mark.parametrize(("room", "kind"), [(ESTIMATORS, "fit"), (INFERENCES, "infer")])
def test_names_of_files_and_classes_are_one(room: Any, kind: str) -> None:
    for name in room.names():
        member = room.load(name)
        assert member.__name__ == "".join(part.capitalize() for part in name.split("-"))
        assert member.__module__ == f"{room.package}.{name.replace('-', '_')}"
        assert callable(getattr(member, kind))
