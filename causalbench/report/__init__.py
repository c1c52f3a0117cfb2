"""Report: notebook, page, figures and tables, all from the evidence and nothing else."""
