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

import causalbench as cb
from causalbench.report import figures
from causalbench.report.tables import estimate_text

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
print(readout.headline["sentence"], readout.headline["why"], sep="\n")

# %%
print("\n\n".join(f"{estimate['metric']}: {estimate_text(estimate)}" for estimate in evidence["estimates"]))

# %% [markdown]
# ## The pictures

# %%
drawings = figures.draw(evidence, metric)
drawings[0]

# %%
drawings[1] if len(drawings) > 1 else "no placebo picture: too few control units"

# %%
drawings[2] if len(drawings) > 2 else "no weights: every control unit counts the same"

# %% [markdown]
# ## Can we believe it?
#
# Each check answers one question. "Not evaluable" is no pass.

# %%
pd.set_option("display.max_colwidth", None)
pd.DataFrame(evidence["checks"][metric])[["question", "verdict", "reason", "remedy"]]

# %% [markdown]
# ## What the data went through

# %%
pd.DataFrame(evidence["audits"][metric]["findings"], columns=["code", "severity", "message", "action", "count"])

# %%
pd.Series(evidence["audits"][metric]["coverage"]).to_frame("count")

# %% [markdown]
# ## Effect by period

# %%
pd.DataFrame(next(e["path"] for e in evidence["estimates"] if e["metric"] == metric)).tail(readout.estimates[0].n_post)

# %% [markdown]
# ## Fingerprint
#
# The run is published only if this equals the fingerprint of `evidence.json`.

# %% tags=["digest"]
print(readout.digest)
