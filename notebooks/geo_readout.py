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
#     example: geolift_test
# ---

# %% [markdown]
# # Readout of a geo test
#
# Some markets got it, others didn't: what did it do, and does every number say the same?
# This notebook computes the readout of one study file from the start. Its only parameter is the file's path.

# %% tags=["parameters"]
# Run from the study's folder, or give a full path.
study_file = "study.toml"

# %%
import pandas as pd
from IPython.display import display

from causalbench.report import geo_readout_figures as figures
from causalbench.study import GeoStudy
from causalbench.workflow.geo_analysis import analyse_study

pd.set_option("display.max_colwidth", None)
study = GeoStudy.load(study_file)
readout = analyse_study(study)
evidence = readout.to_dict()
headline = evidence["headline"]
print(headline["stamp"], headline["sentence"], headline["answer"], headline["why"], headline["assignment"], sep="\n")

# %% [markdown]
# ## Was it delivered as planned?
#
# What differs from a sealed design is listed first; it makes the readout exploratory.

# %%
delivery = evidence["delivery"] or {"verdict": "not evaluable", "sentences": []}
print(delivery["verdict"], *evidence["plan"]["deviations"], *delivery["sentences"], sep="\n")

# %% [markdown]
# ## The effect in every cell

# %%
cells = [{"metric": result["metric"], **cell["effect"]} for result in evidence["results"] for cell in result["cells"]]
pd.DataFrame(cells, columns=["metric", "name", "value", "interval", "p_value", "simultaneous", "adjusted_p"])

# %%
display(*figures.draw(evidence))

# %% [markdown]
# A switchback has no cells: every market is switched on and off, and tested over the design's own schedules.

# %%
if evidence["switchback"] is not None:
    for result in evidence["switchback"]["results"]:
        test = result["uncertainty"]
        print(result["metric"], result["value"], test["interval"]["segments"], test["p_value"], *result["sentences"], sep="\n")
        display(pd.DataFrame(result["checks"], columns=["question", "verdict", "reason", "remedy"]))

# %% [markdown]
# ## What other methods say
#
# Only the planned analysis makes the headline. A method that can't answer says why.

# %%
methods = [row for result in evidence["results"] for row in result["methods"]]
pd.DataFrame(methods, columns=["cell", "method", "inference", "value", "interval", "p_value", "refusal"])

# %%
returns = [row for result in evidence["results"] for row in result["returns"]]
pd.DataFrame(returns, columns=["cell", "method", "incremental", "cost", "value", "interval", "refusal"])

# %% [markdown]
# ## GeoLift's test of the same launch
#
# With `compat = "geolift"` under `[geo.test]`. GeoLift tests with the sum of absolute residuals. Beside its p-value stands
# the set of effects that the same test leaves: where the test period is noisier than the history, it is empty.

# %%
showcase = evidence["showcase"]
if showcase is not None:
    columns = ["statistic", "permutation", "p_value", "segments", "largest_p", "best"]
    display(pd.DataFrame(showcase["schemes"], columns=columns))
    print(showcase["why"])

# %% [markdown]
# ## Can we believe it?
#
# Each check answers one question. "Not evaluable" is no pass.

# %%
checks = [check for result in evidence["results"] for check in result["checks"]]
pd.DataFrame(checks, columns=["cell", "question", "verdict", "reason", "remedy"])

# %% [markdown]
# ## Fingerprint
#
# The run is published only if this equals the fingerprint of `evidence.json`.

# %% tags=["digest"]
print(readout.digest)
