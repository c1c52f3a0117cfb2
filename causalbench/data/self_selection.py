"""Simulated people who choose a treatment themselves, with the graph that they are drawn from: the truth is known."""

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


def self_selected(n: int = 600, *, effect: float = 3.0, seed: int = 0) -> pd.DataFrame:
    r"""Draw people by :data:`GRAPH`, one row each.

    Whether they took it is a logit in income, need and a letter. With the other causes :math:`C` of spending and
    :math:`V = \tau D / 3 + e` visits,

    .. math:: Y = C + \tfrac{2}{3} \tau D + \mathbb 1\{\tau \ne 0\} V + \varepsilon

    so the total effect is :math:`\tau`, a third of it by visits. ``effect=0`` is the twin in which neither way has one.

    Parameters
    ----------
    n
        Number of people.
    effect
        Total effect of ``took`` on ``spend``, the same for everybody.
    seed
        Seed of the draw.

    Examples
    --------
    >>> people = self_selected(1000)
    >>> means = people.groupby("took")["spend"].mean()
    >>> round(float(means[1] - means[0]), 1)  # the truth is 3.0: who took it has more to spend
    4.6
    """
    rng = np.random.default_rng(seed)
    income, age, need, mood = rng.normal(size=(4, n))
    letter = rng.integers(0, 2, n)
    took = (0.9 * income + 0.8 * need + 0.8 * letter - 0.4 + rng.logistic(size=n) > 0).astype(int)
    last_spend = 10 + 2 * income + rng.normal(size=n)
    visits = effect / 3 * took + 0.5 * rng.normal(size=n)
    causes = 5 + 1.5 * income + 0.5 * last_spend + age + 1.5 * mood
    spend = causes + 2 * effect / 3 * took + (visits if effect else 0.0) + rng.normal(size=n)
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
