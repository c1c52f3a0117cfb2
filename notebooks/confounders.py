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
#     example: lalonde
# ---

# %% [markdown]
# # Confounders from a graph
#
# Some took it and some didn't, nobody drew lots, and there is one row per unit. What did it do? That depends on what is adjusted
# for: too little leaves confounding in, and the wrong column puts bias in. A graph of what causes what decides, with reasons.
#
# The steps hold for any such comparison. The remarks that begin with *LaLonde:* are about the data this notebook comes with: men
# who were trained beside men of a survey who were not. There was an experiment too, so here the answer is known. Put in your
# own study file and graph, and rewrite these remarks.
#
# `causalbench new NAME --template confounders` makes a folder in which all of it runs.

# %% tags=["parameters"]
# Run from the study's folder, or give a full path.
study_file = "study.toml"

# %%
import numpy as np
import pandas as pd
from IPython.display import display

import causalbench as cb
from causalbench.dag import Graph
from causalbench.dag.roles import audit
from causalbench.data.datasets import study_path
from causalbench.report import figures
from causalbench.report.tables import estimate_text

pd.set_option("display.max_colwidth", None)
study = cb.load_study(study_file)
readout = cb.readout(study)
evidence = readout.to_dict()
metric = readout.headline["metric"]
estimate = next(estimate for estimate in evidence["estimates"] if estimate["metric"] == metric)
checks = pd.DataFrame(evidence["checks"][metric], columns=["name", "question", "verdict", "reason", "remedy"])
print(study.study.question)

# %% [markdown]
# ## What the graph says of every column
#
# *Must*: no valid set does without it. *May*: valid, with what it does to precision. *Must not*: it takes part of the effect away or
# opens a path. The path shows why, and it is checked by d-separation.
#
# *LaLonde:* everything known about people before the programme may have moved both whether they were trained and what they earned,
# so all of it is adjusted for. The graph also says what it takes for granted: that nothing else moved both.

# %%
graph = (evidence["graph"] or {}).get(metric)
if graph is None:
    print('No graph: name one in the study, dag = "graph.dag".')
else:
    print(graph["sentence"])
    display(pd.DataFrame(graph["nodes"])[["name", "advice", "role", "reason", "path", "adjusted"]].dropna())

# %% [markdown]
# ## The answer
#
# The headline is refused where the groups don't overlap, or where the method finds an effect on the outcome *before* the treatment.
#
# *LaLonde:* as they stand the trained earned 635 dollars less than the survey's men. Adjusted, they earned more, as in the
# experiment, but 185 people aren't enough to show it: the interval holds zero, and the experiment's answer as well.

# %%
headline = [readout.headline[key] for key in ("override", "sentence", "answer", "why")]
print("\n".join(line for line in headline if line))

# %%
print(estimate_text(estimate))

# %% [markdown]
# ## Can we believe it?
#
# Is there somebody to compare with, are the groups alike once weighted, and how strong would something unmeasured have to be to
# explain the answer away? "Not evaluable" is no pass.

# %%
checks[["question", "verdict", "reason", "remedy"]]

# %%
display(*figures.draw(evidence, metric))

# %% [markdown]
# ## What the experiment says
#
# Where a draw decided, no arrow points at the treatment, and the graph asks for nothing. What causes the outcome is
# adjusted for all the same: it makes the answer sharper.
#
# *LaLonde:* the difference of means is 1,794.34 dollars, and 1,675.86 by regression on all columns and the square of age. This
# cell reads the shipped experiment whatever your own study is. Held against the table its graph is doubted at one place: more
# men without a degree were left out than chance would have, as is known of this sample.

# %%
experiment = cb.load_study(study_path("lalonde").parent / "experiment.toml")
drawn = cb.readout(experiment)
print(drawn.headline["sentence"], drawn.headline["answer"], sep="\n")
print(next(check.reason for check in drawn.checks[drawn.headline["metric"]] if check.name == "graph-fits-data"))
table = pd.read_csv(study_path("lalonde").parent / "experiment.csv")
columns = table.drop(columns="re78").assign(one=1, age_squared=table["age"] ** 2)
regression = dict(zip(columns, np.linalg.lstsq(columns, table["re78"], rcond=None)[0]))
means = table.groupby("treat")["re78"].mean()
print(f"Difference of means {means[1] - means[0]:,.2f}, by regression {regression['treat']:,.2f}")

# %% [markdown]
# ## What a graph is worth
#
# The same survey without a graph, and with no covariates: the workbench doesn't let it out as it stands. On earnings *before* the
# programme the same comparison finds a loss of 934 dollars, where there can be no effect.
#
# Other comparison groups of the same study fail although everything is adjusted for. With the 2,490 men of PSID-1 the
# weights rest on about ten of them, and by regression they seem to lose 2,757 dollars in 1975 already: no headline.

# %%
survey = cb.load_study(study_path("lalonde"))
bare = survey.model_copy(update={"dag": None, "data": survey.data.model_copy(update={"covariates": ()})})
refused = cb.readout(bare)
print(refused.headline["sentence"], refused.headline["answer"], refused.headline["why"], sep="\n")

# %% [markdown]
# ## Controls that do harm
#
# More columns aren't safer. A *mediator* takes part of the effect away, a *collider* joins what was apart, and in the *M-structure* a column
# from before the treatment, related to both treatment and outcome, biases a comparison that needed nothing.

# %%
harmful = Graph.parse(
    """dag {
  age -> training ; age -> earnings ; training -> earnings
  training -> skill -> earnings
  training -> promoted ; earnings -> promoted
  ambition [latent] ; region [latent]
  ambition -> training ; ambition -> survey_answer ; region -> survey_answer ; region -> earnings
  lottery -> training
}"""
)
found = audit(harmful, "training", "earnings")
pd.DataFrame(
    [(v.node, v.advice.value, v.role.value, v.reason, v.path) for v in found.verdicts],
    columns=["node", "adjust?", "what it is", "why", "path"],
)

# %% [markdown]
# ## What the data went through

# %%
display(pd.Series(evidence["audits"][metric]["coverage"]).to_frame("count"))
pd.DataFrame(evidence["audits"][metric]["findings"], columns=["code", "severity", "message", "action", "count"])

# %% [markdown]
# ## Fingerprint
#
# The run is published only if this equals the fingerprint of `evidence.json`.

# %% tags=["digest"]
print(readout.digest)
