"""The page for the person who decides: short, no stronger than its grade, from the evidence alone; of every shipped study."""

import copy
import json

import pytest

from causalbench.data.datasets import study_path
from causalbench.decision.grade import MEANING
from causalbench.report import decision_page, page
from causalbench.report.language import overclaims
from causalbench.study import load_finished
from causalbench.workflow.readout import readout

# What a careful reader should get out of each: grade, headline, action.
SHIPPED = {
    # Two chosen cities of 40, 90 days before: a fair comparison that shows nothing at 90%.
    "geolift": ("B", "not shown", "hold"),
    # 19 years before for 12 after, one state: rehearsals had 6 years to learn from.
    "prop99": ("C", "suggested", "hold"),
    # The effect is gone where trends part by 0.15 times their largest step before the laws.
    "castle": ("C", "suggested", "hold"),
    # As castle, at 0.37 times.
    "mpdta": ("C", "suggested", "hold"),
    # Observational; nothing is shown at 95%.
    "lalonde": ("B", "not shown", "hold"),
}


@pytest.fixture(scope="module")
def found():
    return {name: readout(load_finished(study_path(name))).to_dict() for name in SHIPPED}


@pytest.mark.parametrize("name", SHIPPED)
def test_page_of_a_shipped_study_says_what_its_evidence_carries(found, name):
    evidence = json.loads(json.dumps(found[name]))
    made = decision_page.compose(evidence)
    letter, verdict, action = SHIPPED[name]
    assert (evidence["grade"]["grade"], evidence["headline"]["verdict"]) == (letter, verdict)
    assert evidence["decision"]["recommendation"]["action"] == action
    assert (made.grade, made.meaning) == (letter, MEANING[letter])
    assert made.n_words <= decision_page.MOST_WORDS
    assert decision_page.judged(evidence) == ()
    assert "was left out here" not in made.text
    assert evidence["headline"]["sentence"] in made.text
    assert {"What to do", "What was found", f"Why grade {letter}", "What would change this"} <= {
        block.heading for block in made.blocks
    }


@pytest.mark.parametrize("name", SHIPPED)
def test_every_cap_has_its_reason_and_what_would_lift_it(found, name):
    for cap in found[name]["grade"]["caps"]:
        assert cap["cap"] in "BCD"
        assert cap["reason"].strip()
        assert cap["lift"].strip()


def test_evidence_holds_every_stage_of_the_demo(found):
    evidence = found["geolift"]
    assert evidence["schema"] == 1
    assert evidence["advice"]["row"] == "7"
    assert evidence["plan"]["status"] == "none"
    main = next(row for row in evidence["backtest"]["table"] if row["method"] == evidence["backtest"]["main"])
    assert main["n_placebos"] >= 100
    assert evidence["backtest"]["recalibrated"]["interval"]["level"] == 0.9
    assert sum(evidence["triangulation"]["weights"].values()) == pytest.approx(1.0)
    assert len(evidence["triangulation"]["estimates"]) >= 3
    assert evidence["decision"]["verdicts"][0]["metric"] == "sales"


def test_a_comparison_has_no_history_to_rehearse_on(found):
    assert {"backtest", "triangulation"}.isdisjoint(found["lalonde"])
    assert {"advice", "plan", "decision", "grade"} <= found["lalonde"].keys()


def test_a_page_that_would_be_too_long_gives_way_from_the_end(found):
    evidence = copy.deepcopy(found["geolift"])
    long = "A sentence about something of no great weight that goes on for a while. " * 3
    evidence["decision"]["guardrails"] = [{"sentence": long, "metric": str(i)} for i in range(12)]
    made = decision_page.compose(evidence)
    assert made.n_words <= decision_page.MOST_WORDS
    assert evidence["headline"]["sentence"] in made.text
    assert "What would change this" not in made.text


def test_a_sentence_that_says_too_much_never_reaches_the_page(found):
    evidence = copy.deepcopy(found["geolift"])
    evidence["headline"]["sentence"] = "The campaign raised sales."
    made = decision_page.compose(evidence)
    assert "raised sales" not in made.text.replace(evidence["study"]["study"]["question"], "")
    assert "A sentence was left out here" in made.text
    assert decision_page.judged(evidence) == ("The campaign raised sales.",)


def test_a_run_that_left_its_plan_says_so_first(found):
    evidence = copy.deepcopy(found["geolift"])
    evidence["plan"]["status"] = "changed"
    assert decision_page.compose(evidence).text.startswith("EXPLORATORY")


def test_evidence_without_a_grade_has_no_page(found):
    bare = {key: value for key, value in found["geolift"].items() if key != "grade"}
    assert decision_page.compose(bare) is None


def test_page_is_one_offline_file_whose_words_are_escaped(found, tmp_path):
    evidence = copy.deepcopy(found["geolift"])
    evidence["study"]["study"]["question"] = "<script>alert('x')</script>?"
    page.write(evidence, tmp_path)
    text = (tmp_path / "decision.html").read_text("utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "http" not in text.replace("http-equiv", "")


def test_claims_in_the_report_s_headline_hold_at_the_grade(found):
    for evidence in found.values():
        text = " ".join(str(evidence["headline"][key]) for key in ("sentence", "answer", "why"))
        names = [item["name"] for item in evidence["study"]["metric"]]
        assert overclaims(text, grade=evidence["grade"]["grade"], quoted=names) == ()
