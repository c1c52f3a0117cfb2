# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   causalbench:
#     example: prop99
# ---

# %% [markdown]
# # A launch in one or a few units, end to end
#
# One country, one state, two cities got it on one day; the others didn't. What did it do there, and can we believe it?
#
# The steps hold for any launch with one date and units that got nothing. The remarks that begin with *Proposition 99:* are
# about the data this notebook comes with: in 1989 California put 25 cents on a pack of cigarettes and spent the money against
# smoking. Did people buy fewer packs? Put in your own study file and rewrite these remarks.
#
# `causalbench new NAME --template synthetic_control` makes a folder in which all of it runs.

# %% tags=["parameters"]
# Run from the study's folder, or give a full path.
study_file = "study.toml"

# %%
import numpy as np
import pandas as pd
from IPython.display import display

import causalbench as cb
from causalbench.estimators import CATALOGUE as METHODS
from causalbench.report import figures
from causalbench.report.tables import estimate_text
from causalbench.wording import evidence_text, interval_text
from causalbench.workflow.estimate import prepare_study
from causalbench.workflow.reading import read_panel

pd.set_option("display.max_colwidth", None)
study = cb.Study.load(study_file)
readout = cb.readout(study)
evidence = readout.to_dict()
metric = next(metric for metric in study.metric if metric.name == readout.headline["metric"])
estimate = next(estimate for estimate in evidence["estimates"] if estimate["metric"] == metric.name)
checks = pd.DataFrame(evidence["checks"][metric.name]).set_index("name")
drawings = {drawing.name: drawing for drawing in figures.draw(evidence, metric.name)}
print(study.study.question)

# %% [markdown]
# ## What there is to compare
#
# How many units got it, how many didn't, and how long both were watched before. A short history can't tell who moves alike;
# few donors can't tell how large a gap by chance is.
#
# *Proposition 99:* one state against 38, with 19 years before and 12 after. States with a large tobacco programme of their own,
# or with a tax that rose by 50 cents or more in these years, aren't in the table.

# %%
display(pd.Series(evidence["audits"][metric.name]["coverage"]).to_frame("count"))
pd.DataFrame(evidence["audits"][metric.name]["findings"], columns=["code", "message", "action"])

# %% [markdown]
# ## Who stands in for the treated
#
# No single unit is like the treated one, but a mixture of them may be. Weights are chosen on the history alone, and the
# effect is read off afterwards. Three questions: does the treated lie within what mixtures can reach, how many units are in
# the mixture, and does it hold in years that it hasn't seen?
#
# *Proposition 99:* Utah, Montana and Nevada make up 83%. California lies where mixtures reach. In the last six years before the law,
# held out, the mixture misses by 5.3 packs and not by the 0.8 of the years fitted: 38 weights on 19 years fit a part of the
# noise. Keep the 5.3 in mind when looking at the gap.

# %%
display(drawings.get("donor_weights", "this method has no donor weights"))
checks.filter(regex="hull|effective|overfitting|pre-period", axis=0)[["question", "verdict", "reason"]]

# %% [markdown]
# ## The gap
#
# Before the launch the two lines should lie on each other; afterwards their distance is the effect.
#
# *Proposition 99:* the gap opens with the law and keeps growing, to about 27 packs a year in 2000. The average over the years, 19.5, is
# therefore neither what happened at first nor what it came to.

# %%
display(drawings.get("effect_path") or drawings["posterior_panels"])
print(readout.headline["sentence"], readout.headline["why"], "", estimate_text(estimate), sep="\n")

# %% [markdown]
# ## Placebos: what gaps come about where nothing was launched
#
# The same method for every unit that got nothing. If many of them show gaps as large, so would the treated without any effect.
#
# *Proposition 99:* after the law California's gap, relative to the one before, is exceeded by two of 38 states. With 38 placebos, a
# p-value can't be below 1 in 39.

# %%
drawings.get("placebo_gaps", "no placebos: too few units, or a method that can't be applied to them")

# %% [markdown]
# ## Several ways to be unsure
#
# Every inference asks another question, so they may differ without any being wrong. Those *in space* compare units: how
# unusual is the treated among units that could have been treated? Those *in time* compare periods: are the years after the
# launch unlike the years before? The first need many alike units, the second a long and steady history. One in time that is far
# surer than one in space says that gaps wander here: other units part from their mixtures as well, with nothing launched.
# Choose by what you have, and before looking.
#
# *Proposition 99:* in space the set reaches from -33 to -6, as some states part from their mixtures by as much without a law.
# Against California's own years before the law it reaches from -22 to -14 (`conformal`). Counting among 39 states or 31 years
# can't give p = 0.001. Where a smaller p stands in the table it comes from an assumption: that California without the law
# would have stayed as near to its mixture as in the years to which the mixture was fitted.

# %%
panel = read_panel(study, metric)
rows = {}
for name in METHODS.load(study.method.name).inferences:
    try:
        found = cb.estimate(
            panel,
            study.method.name,
            inference=name,
            level=study.method.level,
            seed=study.run.seed,
            on_missing=study.data.on_missing,
            options=study.method.options,
        ).to_dict()
        limit = found["detail"].get("smallest_p")
        rows[name] = [evidence_text(found), limit and f"{limit:.3g}", interval_text(found["interval"])]
    except cb.CausalbenchError as refusal:
        print(f"{name}: {refusal}\n")
pd.DataFrame.from_dict(rows, orient="index", columns=["evidence", "smallest p possible", f"{study.method.level:.0%} set"]).fillna("")

# %% [markdown]
# ## Does it hang on one donor, or on a donor that reacted itself?
#
# Each donor is left out in turn. And a donor that got something of its own on the launch date would put its own effect, with
# the opposite sign, into the answer: the screen compares every donor with the other donors, without the treated.
#
# *Proposition 99:* without Montana 18.0, without any other donor up to 20.5: it doesn't hang on one state. The screen can't help here:
# states wander so much over twelve years that it would miss reactions larger than the effect.

# %%
display(drawings.get("leave_one_out", "no donor to leave out"))
checks.filter(regex="leave-one|contamination", axis=0)[["question", "verdict", "reason", "remedy"]]

# %% [markdown]
# ## Other methods for the same question
#
# They lean on other assumptions: one lets the treated lie outside the mixtures and corrects for it, one compares changes instead
# of levels, one models the series over time. If they agree, the answer doesn't hang on one method's assumption; all of them
# share the data, so agreement is no second proof.

# %%
display(drawings.get("method_agreement", "no other method answers here"))
checks.filter(regex="agreement", axis=0)[["verdict", "reason"]]

# %% [markdown]
# ## What this history could have shown
#
# Launches that never were: the same method, with the launch moved to every date in the second half of the history. Whatever
# it finds there is chance. An effect smaller than most of these could not have been told from nothing. The mock launches
# overlap, so their number says little; with a short history read the largest of them as a rough size.
#
# *Proposition 99:* with 10 to 13 years to fit on, mock launches give up to about 4 packs. An effect of a quarter of the
# one found would have gone unseen; the one found is far beyond.

# %%
estimator, used, _ = prepare_study(study, metric)
length = min(used.n_post, used.n_pre // 3)
mock = {}
for start in range(max(used.n_pre // 2, estimator.requires.min_pre), used.n_pre - length + 1) if length else ():
    earlier = used.only(periods=np.arange(len(used.periods)) < start + length)
    mock[used.periods[start]] = estimator.fit(earlier.assigned_to(used.ever_treated, start=start)).effect
mock = pd.Series(mock, name="effect found where there was none", dtype=float)
level = study.method.level
print(f"{len(mock)} mock launches of {length} periods; {level:.0%} of them find less than {mock.abs().quantile(level):.4g} in size,")
print(f"the largest {mock.abs().max():.4g}; after the real launch the method finds {estimate['value']:.4g}.")
mock.describe().to_frame()

# %% [markdown]
# ## What to tell the manager
#
# *Proposition 99:* Californians bought about 20 packs a year less per head than they would have, a quarter of their
# cigarettes; the data are compatible with anything from 6 to 33. By the end of the century it was 27. Two of 38 states without such a law parted as far from
# their mixtures, so chance isn't ruled out beyond 3 in 39. The answer doesn't hang on a single state. It does hang on
# there being no other reason why California left its neighbours in 1989.
#
# For your own launch: say the answer, the set, how often chance gives as much, what history could have shown, and the one thing
# that would overturn it. Next time, launch in several units drawn by lot.

# %%
print(readout.headline["answer"], readout.headline["assignment"], sep="\n")
display(checks.query("verdict in ('fail', 'review')")[["verdict", "question", "reason"]])

# %% [markdown]
# The fingerprint of the evidence; a run of this study writes the same into `evidence.json`.

# %% tags=["digest"]
print(readout.digest)
