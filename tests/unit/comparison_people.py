"""People who chose a treatment themselves: what each column is for its effect is known, and so is the effect."""

from __future__ import annotations

import numpy as np
import pandas as pd

GRAPH = """dag {
  took [exposure]
  spend [outcome]
  need [latent] ; mood [latent]
  income -> took ; income -> spend ; income -> last_spend ; last_spend -> spend
  took -> visits -> spend
  took -> spend
  took -> survey ; spend -> survey
  need -> took ; need -> quiz ; mood -> quiz ; mood -> spend
  age -> spend
  letter -> took
}
"""
"""``income`` confounds, ``visits`` mediates, ``survey`` is a collider, ``quiz`` is one before the treatment (M-structure)."""

EFFECT = 3.0
"""Total effect of ``took`` on ``spend``: 2 directly and 1 by visits."""


def people(n: int = 600, *, effect: float = EFFECT, seed: int = 0) -> pd.DataFrame:
    """Draw people; with ``effect=0`` the twin in which neither way has an effect."""
    rng = np.random.default_rng(seed)
    income, age, need, mood = rng.normal(size=(4, n))
    letter = rng.integers(0, 2, n)
    took = (0.9 * income + 0.8 * need + 0.8 * letter - 0.4 + rng.logistic(size=n) > 0).astype(int)
    last_spend = 10 + 2 * income + rng.normal(size=n)
    visits = effect / 3 * took + 0.5 * rng.normal(size=n)
    share = 1.0 if effect else 0.0
    spend = 5 + 1.5 * income + 0.5 * last_spend + age + 1.5 * mood + 2 * effect / 3 * took + share * visits
    spend = spend + rng.normal(size=n)
    return pd.DataFrame(
        {
            "person": [f"p{i:05d}" for i in range(n)],
            "took": took,
            "spend": spend,
            "last_spend": last_spend,
            "income": income,
            "age": age,
            "letter": letter,
            "visits": visits,
            "survey": took + 0.5 * spend + rng.normal(size=n),
            "quiz": need + mood + 0.3 * rng.normal(size=n),
        }
    )


STUDY = """\
dag = "graph.dag"
[study]
name = "card"
question = "Did the card raise spending?"
[data]
source = "people.csv"
unit = "person"
before = "last_spend"
[[metric]]
name = "spending"
column = "spend"
[launch]
treatment = "took"
assignment = "opt-in"
[method]
name = "adjustment"
[method.options]
method = "regression"
"""
