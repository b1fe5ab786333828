# Everything from a machine with only Python 3.11 or newer (with venv) and make.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
PEERS := .venv-peers/installed
# One thread a process: the tests and the small networks gain nothing from more.
export OMP_NUM_THREADS ?= 1

.PHONY: setup demo test check learning study-chaos bench peers figures clean

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	# Only for its golden trees, which are files: without JAX it cannot be imported.
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps mctx
	touch $@

# The value of a word in s5 and in its parallel twin z5, and what search adds; a finished run is not
# repeated.
demo: setup
	$(BIN)/rl-serial train configs/train/demo_s5.yaml --resume
	$(BIN)/rl-serial train configs/train/demo_z5.yaml --resume
	$(BIN)/rl-serial train configs/train/demo_search.yaml --resume
	$(BIN)/rl-serial evaluate runs/demo_s5 runs/demo_z5 --figure runs/demo.png
	$(BIN)/rl-serial evaluate runs/demo_search --simulations 0,4,16,64,128
	@echo "Watch the runs: $(BIN)/tensorboard --logdir runs"

test: setup
	$(BIN)/pytest --numprocesses 2

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest --numprocesses 2

# What agents learn, for three seeds: half an hour on two cores.
learning: setup
	$(BIN)/pytest -m learning --numprocesses 2

# Workers and runner of a small study killed twenty times; minutes.
study-chaos: setup
	$(BIN)/pytest -m chaos

# Against mctx under JAX, in an environment of its own; a few minutes.
peers: $(PEERS)
	.venv-peers/bin/python -m pytest -m peers tests/planning

$(PEERS): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet --constraint constraints.txt --editable '.[peers]' pytest
	touch $@

bench: setup $(PEERS)
	$(BIN)/rl-serial bench envs
	$(BIN)/rl-serial bench train
	$(BIN)/rl-serial bench search

# The README's figure, from the demo's runs.
figures: demo
	$(BIN)/rl-serial evaluate runs/demo_s5 runs/demo_z5 --figure docs/images/demo.png

clean:
	rm -rf .venv .venv-peers build *.egg-info
