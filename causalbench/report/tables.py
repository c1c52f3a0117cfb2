"""The plain-text answer of the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from causalbench.wording import interval_text, number, percent


def estimate_text(estimate: Mapping[str, Any]) -> str:
    """Write one estimate as a few aligned lines."""
    detail, interval = estimate["detail"], estimate["interval"]
    level = percent(interval["level"]).replace(".0%", "%") if interval else ""
    extent = f"{estimate['n_treated']} treated, {estimate['n_post']} periods"
    rows = [
        ("effect", f"{number(estimate['value'])} {estimate['estimand']['units']}"),
        (f"{level} {interval['kind']} set" if interval else "interval", interval_text(interval)),
        ("p-value", number(estimate["p_value"])),
        ("standard error", number(estimate["std_error"])) if estimate["std_error"] is not None else None,
        ("relative", percent(detail["relative"], sign=True)) if detail["relative"] is not None else None,
        ("total", f"{number(detail['incremental'])} over {extent}") if detail["incremental"] is not None else None,
        ("compared with", f"{estimate['n_control']} control units, {estimate['n_pre']} periods before the launch"),
        *(("warning", warning) for warning in estimate["warnings"]),
    ]
    shown = [row for row in rows if row]
    width = max(len(label) for label, _ in shown)
    lines = [f"{estimate['estimator']} with {estimate['inference']} inference, {estimate['estimand']['window']}"]
    return "\n".join(lines + [f"  {label:<{width}}  {text}" for label, text in shown])
