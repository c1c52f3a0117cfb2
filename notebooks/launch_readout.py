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
# ---

# %% [markdown]
# # Launch readout
#
# It went out without an A/B test: what did it do, and can we believe it?
# This notebook computes the readout of one study file from the start. Its only parameter is the file's path.

# %% tags=["parameters"]
# Run from the study's folder, or give a full path.
study_file = "study.toml"

# %%
import pandas as pd
from IPython.display import display

import causalbench as cb
from causalbench.report import decision_page, figures
from causalbench.report.tables import estimate_text

pd.set_option("display.max_colwidth", None)
study = cb.Study.load(study_file)
pd.Series({"question": study.study.question, "method": study.method.name, "level": study.method.level}).to_frame("study")

# %% [markdown]
# ## The answer
#
# One call reads the table, audits it, estimates, and checks assumptions. Everything below reads its result.

# %%
readout = cb.readout(study)
evidence = readout.to_dict()
metric = readout.headline["metric"]
print(readout.headline["sentence"], readout.headline["answer"], readout.headline["why"], sep="\n")

# %% [markdown]
# ## What to do
#
# The page for the person who decides, as plain text. Its words are no stronger than the grade allows.

# %%
print(decision_page.compose(evidence).text)

# %%
print("\n\n".join(f"{estimate['metric']}: {estimate_text(estimate)}" for estimate in evidence["estimates"]))

# %% [markdown]
# ## The pictures

# %%
display(*figures.draw(evidence, metric))

# %% [markdown]
# ## Can we believe it?
#
# Each check answers one question. "Not evaluable" is no pass.

# %%
pd.DataFrame(evidence["checks"][metric])[["question", "verdict", "reason", "remedy"]]

# %% [markdown]
# ## How wrong is the method on this history?
#
# Mock launches before the real one, when nothing had happened: whatever a method finds there is its error.

# %%
pd.DataFrame(evidence["backtest"]["table"], columns=["method", "n_placebos", "bias", "rmse", "coverage", "mde"])

# %% [markdown]
# ## What the data went through

# %%
pd.DataFrame(evidence["audits"][metric]["findings"], columns=["code", "severity", "message", "action", "count"])

# %%
pd.Series(evidence["audits"][metric]["coverage"]).to_frame("count")

# %% [markdown]
# ## Effect by period

# %%
estimate = next(estimate for estimate in evidence["estimates"] if estimate["metric"] == metric)
pd.DataFrame(estimate["path"]).tail(estimate["n_post"])

# %% [markdown]
# ## Fingerprint
#
# The run is published only if this equals the fingerprint of `evidence.json`.

# %% tags=["digest"]
print(readout.digest)
