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
#     example: castle
# ---

# %% [markdown]
# # A phased rollout, end to end
#
# It didn't go live everywhere on one day: units launched at different dates, and some never. What did it do, and can we
# believe it?
#
# The steps hold for any phased rollout. The remarks that begin with *Castle:* are about the data this notebook comes with:
# between 2005 and 2009 laws that widen the right to self-defence took effect in 21 of 50 US states. Did they change the
# homicide rate? Put in your own study file and rewrite these remarks.
#
# `causalbench new NAME --template did` makes a folder in which all of it runs.

# %% tags=["parameters"]
# Run from the study's folder, or give a full path. `size` may name a column of unit sizes, for the effect per head.
study_file = "study.toml"
size = None

# %%
import pandas as pd
from IPython.display import display

import causalbench as cb
from causalbench.data.datasets import study_path
from causalbench.report import figures
from causalbench.report.tables import estimate_text
from causalbench.workflow.reading import read_panel

pd.set_option("display.max_colwidth", None)
study = cb.Study.load(study_file)
readout = cb.readout(study)
evidence = readout.to_dict()
metric = readout.headline["metric"]
estimate = next(estimate for estimate in evidence["estimates"] if estimate["metric"] == metric)
checks = pd.DataFrame(evidence["checks"][metric]).set_index("name")
drawings = {drawing.name: drawing for drawing in figures.draw(evidence, metric)}
print(study.study.question)

# %% [markdown]
# ## Who launched when
#
# A launch date with one or two units can't say how sure its own effect is; it still counts in the averages.
#
# *Castle:* thirteen of the 21 states changed their law in 2006. Florida was first and alone, and so was Montana, the last.

# %%
pd.DataFrame(evidence["audits"][metric]["launches"], columns=["launch", "units"]).set_index("launch").T

# %%
drawings["effect_path"]

# %% [markdown]
# ## The usual answer: one regression with unit and period effects
#
# That regression is a weighted mean of comparisons of two launch dates at a time. Some are *forbidden*: they take units that
# already have the launch as the control. Where the effect still builds up, these subtract it. And the weights follow from
# how many periods lie before and after each date, not from anybody's question.
#
# *Castle:* forbidden comparisons have 3% of the weight, and without them the answer would hardly move. Here they aren't the
# reason why the regression says 0.08 and the next section 0.11. That reason is the base: the regression measures from the
# mean of all years before a law, group-time effects from the last year before it. Both are right when trends are parallel;
# that the choice matters this much says how loud the noise is. Further down are data in which forbidden comparisons do
# pull the answer.

# %%
two_way = checks["table"].get("forbidden-comparisons") or {}
if "two_way_estimate" in two_way:
    print(f"two-way regression {two_way['two_way_estimate']:.4f}, forbidden weight {two_way['forbidden_share']:.1%}")
    display(pd.DataFrame(two_way["by_type"]))
else:
    print("Not taken apart here: one launch date, or missing cells.")

# %%
drawings.get("comparison_weights", "no picture of it")

# %% [markdown]
# ## Each launch date against units without it
#
# The group-time effect of a launch date in a period is the change of its units since just before their launch, less the
# change of units that never launched. No treated unit is ever a control. Averages of these effects are the answers; `simple`,
# in which every treated unit and period counts the same, is the headline. `group` is the better one when launch dates of
# long ago shouldn't count more because they have more periods, `dynamic` when every time since the launch should count alike.

# %%
print(readout.headline["sentence"], readout.headline["why"], "", estimate_text(estimate), sep="\n")

# %% [markdown]
# ## The effect by time since the launch
#
# Left of the dashed line there can be no effect: what shows there is noise, or a trend. Judge the whole picture by the thin
# lines, which hold for all event times at once; the broad bars hold for one that was picked before looking.
#
# *Castle:* from the first year on the effect is about 0.1 and stays there. No thin line after the launch leaves out 0, though
# the average over all of them does: many weak signs together. The value at -7 rests on seven states;
# earlier ones on states that are alone or in pairs with their date, and are left out.

# %%
drawings.get("event_study", "no event study: this method or inference gives none")

# %% [markdown]
# ## Were the trends parallel, and would we have seen it if not?
#
# A test before the launch that finds nothing is no proof. What counts is how large a drift it could have missed, and what that
# drift would do to the answer when carried past the launch; and how wrong parallel trends may be before the answer changes.
#
# *Castle:* the test finds nothing (p = 0.35). But a drift that it misses one time in five would make up most of the effect. And
# zero comes in as soon as trends may differ by 0.15 of the largest step seen before the laws: it doesn't take much.

# %%
display(drawings.get("trend_sensitivity", "no sensitivity: it needs a lead and enough clusters"))
checks.filter(regex="trend|anticipation|timing", axis=0)[["question", "verdict", "reason"]]

# %% [markdown]
# ## Per unit or per head, and how few units there are
#
# By default every unit counts the same. With sizes as weights the effect is per head: another question, not a better answer.
# And a clustered standard error needs enough units on both sides; with few of them compare it with the permutation test, which
# asks how often launch dates dealt out at random to the units give an effect as large.
#
# *Castle:* with `size = "population"` it is nearly the same, 0.108, so large states are no exception. The permutation test is less
# sure than the clustered error, and says the same.

# %%
asked = {"the study's answer": (study, None)}
asked["permuted launch dates"] = (study, "permutation")
if size:
    weighted = study.data.model_copy(update={"weights": size})
    asked[f"weighted by {size}"] = (study.model_copy(update={"data": weighted}), None)
rows = {}
for name, (variant, inference) in asked.items():
    try:
        panel = read_panel(variant, variant.metric[0])
        found = cb.estimate(
            panel,
            study.method.name,
            inference=inference,
            level=study.method.level,
            seed=study.run.seed,
            on_missing=study.data.on_missing,
            options=study.method.options,
        )
        ends = (found.interval.lower, found.interval.upper) if found.interval else (None, None)
        rows[name] = [found.value, found.p_value, *ends, found.inference]
    except cb.CausalbenchError as refusal:
        print(f"{name}: {refusal}")
pd.DataFrame.from_dict(rows, orient="index", columns=["effect", "p", "lower", "upper", "inference"])

# %% [markdown]
# ## Where the regression does go astray
#
# Teen employment in 500 US counties: states raised their minimum wage in 2004, 2006 or 2007, or not. The effect grows with every
# year. Counties that raise late are then compared with counties whose employment is still falling from their own raise, and
# that comparison comes out *positive*. It has only 5% of the weight, and still pulls the regression's answer towards zero.

# %%
wages = cb.readout(cb.Study.load(study_path("mpdta"))).to_dict()
print(estimate_text(wages["estimates"][0]))
{drawing.name: drawing for drawing in figures.draw(wages, wages["headline"]["metric"])}["comparison_weights"]

# %% [markdown]
# ## What to tell the manager
#
# *Castle:* homicides rose by about 12% (exp(0.11) - 1) in states that passed such a law, compared with states that didn't; the data are
# compatible with anything from 3% to 21%. That nothing happened is rejected. It doesn't hang on the weights or on the test, and
# three of the four averages agree; the calendar one, 0.07, gives the year in which Florida was alone as much say as any other.
# It does hang on parallel trends: eleven years can't rule out a slow drift that would explain most of it, and a regression
# that measures from all years before gives 8%. So: more homicides, not fewer, is what these data say; deterrence is not
# seen; and 12% is a best guess, not a measurement.
#
# For your own rollout: say the answer, the set, which average it is, and the one thing that would overturn it. Next time, draw the
# order of the launches by lot.

# %%
print(readout.headline["answer"], readout.headline["assignment"], sep="\n")
checks.query("verdict in ('fail', 'review')")[["verdict", "question"]]
