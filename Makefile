# Everything from a machine with only Python 3.11 or newer (with venv) and make.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
PEERS := .venv-peers/installed
DEMO := runs/study/demo
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

# A small study: the value of a word in s5 and in its parallel twin z5, and what search adds to it; what
# is finished is not repeated.
demo: setup
	$(BIN)/rl-serial study run configs/study/demo.yaml --out $(DEMO) > /dev/null
	@$(BIN)/rl-serial study report $(DEMO)

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

# Against mctx under JAX and pytorch-mppi, in an environment of its own; a few minutes.
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

# The README's figure, from the demo.
figures: demo
	cp $(DEMO)/figures/*_accuracy_by_remaining.png docs/images/demo.png

clean:
	rm -rf .venv .venv-peers build *.egg-info
