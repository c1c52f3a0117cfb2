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
#     example: geolift
#     method: causal-impact
# ---

# %% [markdown]
# # One series with controls, end to end
#
# One country, one chain, one product line got the launch. Its series is continued from its own past and from series that
# didn't get it; what happened less that forecast is the effect. The call is that of R's CausalImpact.
#
# The steps hold for any launch on one date. The remarks that begin with *GeoLift:* are about the data this notebook comes with:
# daily sales of 40 cities, a campaign in Chicago and Portland from 1 April 2021 on, whose mean is the series. Put in your own
# study file and rewrite these remarks.
#
# `causalbench new NAME --template causal_impact` makes a folder in which all of it runs.

# %% tags=["parameters"]
# Run from the study's folder, or give a full path.
study_file = "study.toml"

# %%
import numpy as np
import pandas as pd
from IPython.display import display

import causalbench as cb
from causalbench.report.tables import estimate_text
from causalbench.workflow.estimate import prepare_study

study = cb.Study.load(study_file)
readout = cb.readout(study)
metric = next(metric for metric in study.metric if metric.name == readout.headline["metric"])
panel = prepare_study(study, metric)[1]
controls = pd.DataFrame(panel.outcome.T, index=panel.periods, columns=panel.units).loc[:, ~panel.ever_treated]
treated = pd.Series(panel.outcome[panel.ever_treated].mean(axis=0), index=panel.periods, name="mean of the treated")
closest = controls.dropna(axis=1).iloc[: panel.n_pre].corrwith(treated).abs().nlargest(50).index
data = pd.concat([treated, controls[closest]], axis=1)
before, after = list(panel.periods[: panel.n_pre]), list(panel.periods[panel.n_pre :])
pre_period, post_period = [before[0], before[-1]], [after[0], after[-1]]
model_args = {"nseasons": panel.season if len(before) >= 2 * panel.season else 1}
alpha = round(1 - study.method.level, 10)
print(study.study.question)
data.head(3)

# %% [markdown]
# ## The call
#
# Data with the response first, the periods to learn from and to judge, and the study's level. In R and in the Python packages
# the next line reads the same. Controls with missing cells are left out, and of more than fifty those that correlate least with the
# history. A season is modelled where the history holds two.

# %%
impact = cb.CausalImpact(data, pre_period, post_period, model_args=model_args, alpha=alpha)
print(impact.summary())

# %% [markdown]
# The top panel shows the series and its forecast with a band by period, the middle one their difference, the bottom one what it
# adds up to. Look left of the line first: a forecast that can't follow the history has no say about what came after.

# %%
impact.plot()

# %% [markdown]
# ## Which priors, and what they promise
#
# R's CausalImpact all but fixes the level: its interval is right as long as the controls explain everything but independent noise.
# Left alone, most series drift. The default here learns from the history how much, and the interval is as wide as that
# makes it. The two are never mixed; the summary says which it was and how often such intervals held the effect in simulations.
#
# *GeoLift:* the two agree on the effect and not on how sure it is; here R's interval is the wider one.

# %%
impact_r = cb.CausalImpact(data, pre_period, post_period, model_args=model_args, alpha=alpha, compat="r")
columns = ["AbsEffect", "AbsEffect.lower", "AbsEffect.upper", "AbsEffect.sd", "RelEffect", "p"]
regimes = {"learned (default)": impact, "R's": impact_r}
pd.DataFrame({name: found.table.loc["Average", columns] for name, found in regimes.items()}).T.rename_axis("priors")

# %% [markdown]
# ## Which controls were used
#
# The share of draws in which a control had a part, and its coefficient averaged over all draws. A control near 0 wasn't needed; one near
# 1 carries the forecast, so ask of each of those: did it react to the launch, or have a launch of its own?
#
# *GeoLift:* none of the 38 cities is indispensable; Miami and Cincinnati have a part in most draws.

# %%
pd.DataFrame(
    {"inclusion_probability": impact.inclusion_probability, "coefficient": impact.fit.diagnostics["coefficients"]}
).sort_values("inclusion_probability", ascending=False).head(10)

# %% [markdown]
# ## Dates on which nothing happened
#
# The same call with a launch that never was, on the history alone. There the effect is zero, so nearly every interval
# should hold it. The windows overlap and are few: one miss is no verdict, and several are a warning that no
# simulation outweighs. A history too short for it gives an empty table.

# %%
length = max(min(len(after), len(before) // 3), 1)
candidates = np.linspace(len(before) // 2, len(before) - length, 8).astype(int)
starts = [start for start in dict.fromkeys(candidates.tolist()) if treated.iloc[:start].nunique() >= 5]
starts = [start for start in starts if treated.iloc[start : start + length].count()]
placebos = []
for start in starts:
    windows = [before[0], before[start - 1]], [before[start], before[start + length - 1]]
    args = {"nseasons": model_args["nseasons"] if start >= 2 * model_args["nseasons"] else 1}
    for priors, compat in (("learned (default)", "none"), ("R's", "r")):
        found = cb.CausalImpact(data.iloc[: len(before)], *windows, model_args=args, alpha=alpha, compat=compat)
        row = found.table.loc["Average"]
        ends = row["AbsEffect.lower"], row["AbsEffect.upper"]
        placebos.append((windows[1][0], priors, row["AbsEffect"], *ends, ends[0] <= 0 <= ends[1]))
placebos = pd.DataFrame(placebos, columns=["pretended launch", "priors", "effect", "lower", "upper", "holds zero"])
display(placebos.set_index(["pretended launch", "priors"]))
placebos.groupby("priors")["holds zero"].agg(["sum", "count"])

# %% [markdown]
# ## Another method on the same launch
#
# The study names a method of its own. It makes other assumptions; where the two disagree, the answer hangs on them.

# %%
evidence = readout.to_dict()
print(estimate_text(next(found for found in evidence["estimates"] if found["metric"] == metric.name)))
print(readout.headline["answer"])

# %% [markdown]
# ## What to tell the manager
#
# *GeoLift:* sales in the two cities ran some 120 per city and day above the forecast, 4%. By this model that is more than chance: its 90%
# interval begins a little above zero. But it hangs on the model. With R's priors the interval holds zero, and so does the set of the
# study's own method, which compares the two cities with a weighted mean of others and makes the effect 156. Seven of eight launches that never
# were passed. The forecast rests most on Miami and Cincinnati, each used in three draws of four: make sure that neither had a campaign of
# its own. So: probably a rise, of anything between nothing and 9%, and not shown yet.
#
# For your own launch: say the effect, its interval, which priors it was, how the launches that never were came out, and the one
# control that would overturn it. Next time, let the lot choose where to launch.

# %%
print(impact.summary("report"))

# %% [markdown]
# ## Fingerprint
#
# The run is published only if this equals the fingerprint of `evidence.json`.

# %% tags=["digest"]
print(readout.digest)
