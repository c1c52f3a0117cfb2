# make demo    set up .venv from pinned versions, answer the shipped launch, print where the report is
# make test    set up what the tests need, run the suite
# make docs    write METHODS.md and the paired notebooks again
# make bench   measure, and write benchmarks/results/
# make bench-published   those on published data; CAUSALBENCH_REFERENCE names its folder
# make bench-peers   the same beside other programs, in an environment of its own; it needs that folder too

PYTHON ?= python3
BIN := .venv/bin
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1
PINS := pyproject.toml constraints.txt

.PHONY: demo test docs bench bench-published bench-peers clean

demo: .venv/.ready
	$(BIN)/causalbench demo --out runs/demo

test: .venv/.ready-dev
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2

docs: .venv/.ready-dev
	$(BIN)/python tools/docs.py

bench: .venv/.ready-dev
	$(ONE_THREAD) $(BIN)/python benchmarks/placebos.py
	$(ONE_THREAD) $(BIN)/python benchmarks/bsts_coverage.py
	$(BIN)/python benchmarks/engine_moments.py
	$(ONE_THREAD) $(BIN)/python benchmarks/inference_sizes.py
	$(ONE_THREAD) $(BIN)/python benchmarks/dag.py
	$(ONE_THREAD) $(BIN)/python benchmarks/falsification.py
	$(ONE_THREAD) $(BIN)/python benchmarks/refutation.py
	$(ONE_THREAD) $(BIN)/python benchmarks/supergeos.py
	$(ONE_THREAD) $(BIN)/python benchmarks/backtest_choice.py
	$(ONE_THREAD) $(BIN)/python benchmarks/recalibrated_coverage.py 2000 families
	$(ONE_THREAD) $(BIN)/python benchmarks/ship_decisions.py
	$(ONE_THREAD) $(BIN)/python benchmarks/refusals.py
	$(ONE_THREAD) $(BIN)/python benchmarks/scenarios.py

bench-published: .venv/.ready-dev
	$(ONE_THREAD) $(BIN)/python benchmarks/honest.py
	$(ONE_THREAD) $(BIN)/python benchmarks/geo_scan.py
	$(ONE_THREAD) $(BIN)/python benchmarks/recalibrated_coverage.py 2000 data
	$(ONE_THREAD) $(BIN)/python benchmarks/cps_placebo_laws.py
	$(ONE_THREAD) $(BIN)/python benchmarks/synthetic_did_designs.py

bench-peers:
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --requirement benchmarks/requirements-peers.txt .
	$(ONE_THREAD) .venv-peers/bin/python benchmarks/did_peers.py
	$(ONE_THREAD) .venv-peers/bin/python benchmarks/bsts_peers.py
	$(ONE_THREAD) .venv-peers/bin/python benchmarks/synthetic_control_peers.py

clean:
	rm -rf .venv .venv-peers runs build dist

.venv/.ready: $(PINS)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt hatchling editables
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable .
	touch $@

.venv/.ready-dev: .venv/.ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable ".[dev]"
	touch $@
