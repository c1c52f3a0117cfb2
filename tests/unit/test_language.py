"""The judge of a page's verbs catches overclaims and lets honest sentences pass."""

import pytest

from causalbench.report.language import kept, overclaims

NEVER = [
    "The data prove that the campaign worked.",
    "This is proof of an effect.",
    "It certainly raised sales.",
    "The launch had no effect.",
    "The launch did nothing.",
    "A lift is guaranteed.",
    "The result is conclusive.",
]
CAUSAL = [
    "The campaign raised sales by 5%.",
    "Sales increased because of the launch.",
    "The launch caused 300 more orders.",
    "The new feed led to more minutes.",
    "It worked.",
    "The filter reduced activity.",
]
SHOWN = [
    "An effect on sales is shown at the 90% level.",
    "The data demonstrate a change.",
    "The result shows an effect.",
    "The change is significant.",
    "sales is better: +5%.",
]
HINTS = [
    "The data hint at an effect on sales.",
    "The best estimate is +5.",
    "This suggests a fall.",
    "A fall is likely.",
]
ALWAYS = [
    "An effect on sales is not shown at the 90% level.",
    "That is not proof of no effect; effects as large as the set's ends are compatible too.",
    "The data are compatible with no effect: p = 0.114.",
    "No claim: these data can't say what the launch did to sales.",
    "Whether it raised sales isn't known.",
    "Nobody can say that the launch raised sales.",
    "Did the campaign raise sales?",
    "That nothing happened is rejected: p = 0.01.",
    "Assign units at random next time.",
    "There is no proof of it.",
]


def grades(text):
    return "".join(letter for letter in "ABCD" if not overclaims(text, grade=letter))


@pytest.mark.parametrize("text", NEVER)
def test_proof_of_an_effect_or_of_none_is_never_allowed(text):
    assert grades(text) == ""


@pytest.mark.parametrize("text", CAUSAL)
def test_saying_what_the_launch_did_needs_an_a(text):
    assert grades(text) == "A"


@pytest.mark.parametrize("text", SHOWN)
def test_calling_it_shown_needs_a_b(text):
    assert grades(text) == "AB"


@pytest.mark.parametrize("text", HINTS)
def test_hinting_needs_a_c(text):
    assert grades(text) == "ABC"


@pytest.mark.parametrize("text", ALWAYS)
def test_denials_questions_and_open_ends_are_always_allowed(text):
    assert grades(text) == "ABCD"


def test_sentences_are_judged_one_by_one_and_named():
    found = overclaims("An effect is not shown. It raised sales. A guess.", grade="B")
    assert [(one.sentence, one.words) for one in found] == [("It raised sales.", "raised")]
    assert found[0].why


def test_the_studys_own_words_are_not_judged():
    text = "Decision it informs: roll out if it raised sales proven. Metric: lifted orders."
    assert overclaims("Metric: lifted orders.", grade="D")
    assert not overclaims("Metric: lifted orders.", grade="D", quoted=["lifted orders"])
    assert not overclaims(text, grade="D", quoted=["roll out if it raised sales proven", "lifted orders", ""])


def test_a_hedge_in_another_sentence_takes_nothing_back():
    assert overclaims("We don't know. It raised sales.", grade="C")


def test_only_the_sentence_that_says_too_much_goes():
    text = (
        "users passes its margin of -2%: -0.5%, none of it beyond. A change for the worse is shown, within the margin."
    )
    assert kept([text], grade="B") == (text,)
    assert kept([text], grade="C")[0].startswith(
        "users passes its margin of -2%: -0.5%, none of it beyond. A sentence was"
    )


def test_what_says_too_much_is_left_out_and_that_is_said():
    assert kept(["It raised sales.", "A guess."], grade="B") == (
        "A sentence was left out here: it said more than grade B allows.",
        "A guess.",
    )
