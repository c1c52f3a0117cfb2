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
#     example: geolift_pretest
# ---

# %% [markdown]
# # Geo design
#
# Which markets should get it, for how long, and what would such a test detect?
# This notebook computes the design of one study file from the start. Its only parameter is the file's path.

# %% tags=["parameters"]
# Run from the study's folder, or give a full path.
study_file = "study.toml"

# %%
import pandas as pd
from IPython.display import display

from causalbench.report import geo_figures
from causalbench.report.geo_tables import power_text
from causalbench.study import GeoStudy
from causalbench.workflow.geo_design import design
from causalbench.workflow.geo_parity import best_of_geolift, geolift_rows, parity_rows

pd.set_option("display.max_colwidth", None)
study = GeoStudy.load(study_file)
pd.Series(study.geo.model_dump(exclude_defaults=True)).astype(str).to_frame("study")

# %% [markdown]
# ## The answer
#
# The search and the choice among its proposals see the earlier part of the history. What the chosen markets would detect is
# measured on later windows, by whose outcomes nothing was chosen: the best of many designs looks better than it is where it
# was found.

# %%
found = design(study)
evidence = found.to_dict()
headline = evidence["headline"]
print(*(headline[key] for key in ("sentence", "answer", "why", "size", "assignment")), *headline["help"], sep="\n")

# %%
print(power_text(evidence))

# %% [markdown]
# ## The pictures

# %%
display(*geo_figures.draw(evidence))

# %% [markdown]
# ## Candidates
#
# Compared on windows that the search has seen; what counts is the claim above.

# %%
candidates = pd.json_normalize(evidence["candidates"], max_level=1)
candidates[[name for name in candidates if name.startswith(("rank", "chosen", "cells.", "scaled", "shares.", "best."))]]

# %% [markdown]
# ## Who was left out, and why

# %%
pd.DataFrame(evidence["left_out"], columns=["market", "reason"]).groupby("reason")["market"].agg(", ".join).to_frame()

# %% [markdown]
# ## Beside GeoLift
#
# What that program's market selection would say about the same table (one cell only). Its power is the share of windows in
# which the best of many sets finds an effect, on the very window that picked the set: one window, hence 1 or nothing.

# %%
pd.DataFrame(geolift_rows(study)).head(10)

# %% [markdown]
# Its first row's markets under our question: how large an effect would be seen on several windows, and in how many of them is
# there a false alarm?

# %%
judged = best_of_geolift(study)
print(power_text(judged) if judged else "There is no such row here.")

# %% [markdown]
# On the walkthrough's own table its published numbers stand beside ours; elsewhere there is nothing to compare.

# %%
columns = ["markets", "duration", "effect", "column", "ours", "published", "rel_difference"]
pd.DataFrame(parity_rows(study), columns=columns)

# %% [markdown]
# ## Fingerprint
#
# The design is published only if this equals the fingerprint of `evidence.json`.

# %% tags=["digest"]
print(found.digest)
