"""Write what is generated: METHODS.md from the method cards, and each notebook's .ipynb from its text form.

``python tools/docs.py`` writes, ``python tools/docs.py --check`` only tells whether anything is out of date.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat

from causalbench.checks import CATALOGUE as CHECKS
from causalbench.estimators import CATALOGUE as ESTIMATORS
from causalbench.inference import CATALOGUE as INFERENCES
from causalbench.report.notebook import template

ROOT = Path(__file__).resolve().parent.parent


def methods() -> str:
    """Render METHODS.md."""
    parts = [
        "# Methods",
        "",
        "Written by `make docs` from the method cards in the code; the tests hold it up to date.",
        "",
    ]
    for title, catalogue in (("Estimators", ESTIMATORS), ("Inference", INFERENCES)):
        parts += [f"## {title}", ""]
        for name in catalogue.names():
            card = catalogue.load(name).card
            parts += [f"### {card.title}", "", card.summary, "", f"$${card.equation}$$", ""]
            rows = {
                "Assumes": " ".join(card.assumptions),
                "Not when": " ".join(card.not_when),
                "Uncertainty": card.std_error,
                "Edge cases": " ".join(card.edge_cases),
                "Reference": "; ".join(f"[{text}]({link})" for text, link in card.references),
            }
            parts += ["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows.items()), ""]
    parts += ["## Checks", "", "| Check | Question | What it does |", "|---|---|---|"]
    for name in CHECKS.names():
        check = CHECKS.load(name)
        summary = " ".join((check.__doc__ or "").partition("Attributes\n")[0].split())
        parts.append(f"| `{name}` | {check.question} | {summary} |")
    return "\n".join(parts) + "\n"


def documents() -> dict[Path, str]:
    """Return every generated file with its content."""
    notebooks = {path.with_suffix(".ipynb"): template(path.stem) for path in sorted((ROOT / "notebooks").glob("*.py"))}
    return {ROOT / "METHODS.md": methods()} | {path: nbformat.writes(book) + "\n" for path, book in notebooks.items()}


def main() -> int:
    """Write or check; return how many files are out of date."""
    stale = [path for path, text in documents().items() if not path.exists() or path.read_text("utf-8") != text]
    for path in stale:
        print(f"out of date: {path.relative_to(ROOT)}" if "--check" in sys.argv else f"wrote {path.relative_to(ROOT)}")
        if "--check" not in sys.argv:
            path.write_text(documents()[path], "utf-8")
    return len(stale) if "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
