"""Planned against delivered: lists exactly, shares against the design's own draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from causalbench.data.panel import Panel
from causalbench.errors import DataError
from causalbench.geo.delivery import Delivery, delivery, split_ratio
from causalbench.geo.split import Split

N_PRE, N_TEST = 30, 28
MARKETS = tuple(f"m{i:02d}" for i in range(40))
CELLS = np.repeat([1, 0], 20)


def history(units: tuple[str, ...] = MARKETS) -> Panel:
    rng = np.random.default_rng(3)
    size = rng.lognormal(3, 1, size=(len(units), 1))
    outcome = size * rng.lognormal(0, 0.1, size=(len(units), N_PRE + N_TEST))
    return Panel(
        outcome=outcome, treated=np.zeros(outcome.shape, bool), units=units, periods=tuple(range(1, N_PRE + N_TEST + 1))
    )


def clean(cells: np.ndarray = CELLS) -> np.ndarray:
    got = np.zeros((len(cells), N_PRE + N_TEST), dtype=int)
    got[:, N_PRE:] = np.maximum(cells, 0)[:, None]
    return got


def check(got: np.ndarray | None, **changes: Any) -> Delivery:
    given: dict[str, Any] = {
        "markets": MARKETS,
        "panel": history(),
        "names": ("ads",),
        "start": N_PRE,
        "end": N_PRE + N_TEST - 1,
        "randomized": True,
    }
    return delivery(Split(cells=changes.pop("cells", CELLS)), got, **{**given, **changes})


def draws(n: int = 999) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.array([rng.permutation(CELLS) for _ in range(n)])


def test_a_clean_delivery_passes_and_stays_random() -> None:
    found = check(clean(), draws=draws())
    assert (found.verdict, found.still_random, found.departures, found.grade_cap) == ("pass", True, (), None)
    assert found.planned_counts == found.actual_counts == {"left out": 0, "control": 20, "ads": 20}
    assert found.split_ratio[0].verdict == "pass"


def test_controls_treated_from_day_9_and_a_merged_market_withdraw_randomized() -> None:
    # Scenario A10: planned 20 / 20; three controls got it on day 9, one market is merged into another.
    panel = history().only(units=np.array(MARKETS) != "m33")
    got = clean()[np.array(MARKETS) != "m33"]
    late = [panel.units.index(name) for name in ("m21", "m27", "m39")]
    got[late, N_PRE + 8 :] = 1
    found = check(got, panel=panel)
    assert (found.verdict, found.still_random) == ("fail", False)
    assert [(d.market, d.kind, d.since, d.n_periods) for d in found.departures] == [
        ("m21", "not-planned", 39, 20),
        ("m27", "not-planned", 39, 20),
        ("m33", "missing", None, 0),
        ("m39", "not-planned", 39, 20),
    ]
    assert found.actual_counts == {"left out": 0, "control": 16, "ads": 23}
    assert found.received[late].tolist() == [1, 1, 1]
    said = " ".join(found.sentences)
    assert "3 markets got a treatment that wasn't planned there: m21 (from 39), m27 (from 39), m39 (from 39)" in said
    assert "1 market planned, but not in the data (merged, renamed or dropped): m33." in said
    assert "intention to treat" in said
    assert "capped" in (found.grade_cap or "")


def test_treated_market_without_its_treatment_is_named_with_the_span() -> None:
    got = clean()
    got[4, N_PRE : N_PRE + 3] = 0
    (gap,) = check(got).departures
    assert (gap.market, gap.planned, gap.got, gap.kind, gap.since, gap.until, gap.n_periods) == (
        "m04", "ads", "control", "not-delivered", 31, 33, 3,
    )  # fmt: skip


def test_wrong_cell_early_start_new_market_and_market_left_out() -> None:
    cells = CELLS.copy()
    cells[:3], cells[39] = 2, -1
    got = clean(cells)
    got[0, N_PRE:] = 1
    got[5, N_PRE - 2 :] = 1
    got[39, N_PRE + 1 :] = 2
    panel = history((*MARKETS, "new town"))
    found = check(np.vstack([got, got[30]]), cells=cells, panel=panel, names=("ads", "mail"))
    assert [(d.market, d.kind, d.planned, d.got, d.since) for d in found.departures] == [
        ("m00", "wrong-cell", "mail", "ads", 31),
        ("m05", "not-planned", "control", "ads", 29),
        ("m39", "not-planned", "left out", "mail", 32),
        ("new town", "new", "", "", None),
    ]


def test_spend_is_held_against_plan_and_controls_that_spend_are_named() -> None:
    cost = np.zeros((40, N_PRE + N_TEST))
    cost[:20, N_PRE:] = 10.0
    exact = check(clean(), spend=cost, planned_spend={"ads": 5600.0})
    assert exact.verdict == "pass"
    assert [(row.cell, row.planned, row.actual, row.ratio) for row in exact.spend] == [
        ("control", None, 0.0, None),
        ("ads", 5600.0, 5600.0, 1.0),
    ]
    short = check(clean(), spend=cost, planned_spend={"ads": 8000.0})
    assert (short.verdict, short.still_random) == ("review", True)
    assert "5,600 of 8,000 planned (70%)" in " ".join(short.sentences)
    cost[25, -1] = 1.0
    leaked = check(clean(), spend=cost, planned_spend={"ads": 5600.0})
    assert (leaked.verdict, leaked.spending_controls) == ("review", ("m25",))


def test_without_a_record_of_what_was_delivered_nothing_is_claimed() -> None:
    found = check(None)
    assert found.verdict == "not_evaluable"
    assert "taken on trust" in found.sentences[0]
    assert found.got[:, N_PRE:].tolist() == clean()[:, N_PRE:].tolist()


def test_a_split_that_the_design_would_hardly_draw_fails() -> None:
    panel = history()
    largest = np.argsort(-panel.outcome[:, :N_PRE].sum(axis=1))[:20]
    cells = np.zeros(40, dtype=int)
    cells[largest] = 1
    found = check(clean(cells), cells=cells, draws=draws(4_999))
    assert (found.verdict, found.still_random, found.departures) == ("fail", False, ())
    assert found.split_ratio[0].tail_share == 2 / 5_000


def test_tail_share_is_two_sided_and_at_most_one() -> None:
    # Of ten draws the actual share .9 is the second largest: 2 x 2/10; the middle one: capped at 1.
    shares = np.array([0.9, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0])
    assert split_ratio("ads", shares).tail_share == pytest.approx(0.4)
    assert split_ratio("ads", np.full(5, 0.5)).tail_share == 1.0
    assert split_ratio("ads", shares, drawn=False).verdict == "not_evaluable"


def test_bad_input_is_refused() -> None:
    with pytest.raises(DataError, match="names cell 7, the plan has 1"):
        check(np.full((40, N_PRE + N_TEST), 7))
    with pytest.raises(ValueError, match="actual has shape"):
        check(clean()[:, 1:])
    with pytest.raises(ValueError, match="39 markets for 40"):
        check(clean(), markets=MARKETS[1:])
