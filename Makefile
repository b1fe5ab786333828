# Everything from a machine with only Python 3.11 or newer (with venv) and make.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
PEERS := .venv-peers/installed
LOWEST := .venv-lowest/installed
# Libraries whose requirements go together neither with each other nor with ours: what each is installed
# with, and the pin of constraints.txt that it does not take.
LIBRARIES := torchrl tianshou rllib skrl rl_zoo3 minari notebook
NEEDS_torchrl := torchrl
NEEDS_tianshou := tianshou
NEEDS_rllib := 'ray[rllib]' gymnasium==1.2.2
UNPINNED_rllib := gymnasium
NEEDS_skrl := skrl
NEEDS_rl_zoo3 := rl_zoo3
NEEDS_minari := 'minari[create,hdf5]'
NEEDS_notebook := nbclient ipykernel
EXTRAS_notebook := [train]
DEMO := runs/study/demo
# One thread a process: the tests and the small networks gain nothing from more.
export OMP_NUM_THREADS ?= 1

.PHONY: browser fuzz gpu setup demo test check lowest learning study-chaos bench peers $(LIBRARIES) figures dist schema docs ray clean

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	# Only for its golden trees, which are files: without JAX it cannot be imported.
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps mctx
	touch $@

# A small study: deep-narrow against shallow-wide networks on a random cycle and on its parallel twin, and
# what search adds to them; what is finished is not repeated.
demo: setup
	$(BIN)/rl-serial study run configs/study/demo.yaml --out $(DEMO) > /dev/null
	@$(BIN)/rl-serial study report $(DEMO)

test: setup
	$(BIN)/pytest --numprocesses 2 --dist worksteal

check: setup lowest
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest --numprocesses 2 --dist worksteal

# The base install at the lowest versions that pyproject.toml declares, where the interpreter has wheels
# of them (Python 3.11 and 3.12); seconds once it is installed.
lowest:
	@if $(PYTHON) -c 'import sys; sys.exit(sys.version_info >= (3, 13))'; then \
		$(MAKE) --no-print-directory $(LOWEST) && .venv-lowest/bin/python -W error tests/lowest.py; \
	else echo "lowest versions: not tried, $(PYTHON) is newer than 3.12"; fi

$(LOWEST): pyproject.toml
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/pip install --quiet $$($(PYTHON) -c 'import tomllib; print(*(need.replace(">=", "==") \
		for need in tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]))')
	.venv-lowest/bin/pip install --quiet --no-deps --editable .
	touch $@

# What agents learn, for three seeds: half an hour on two cores.
learning: setup
	$(BIN)/pytest -m learning --numprocesses 2

# Wheel and sdist built in dist/, held against the checkout, and the wheel installed into an empty
# environment, where a shipped configuration is trained from an empty folder; minutes.
dist: setup
	$(BIN)/pytest -m dist

# The schemas of configurations, from the models, and the line that names them to editors.
schema: setup
	$(BIN)/python docs/schema.py

# The page on which a person plays, driven in Chromium by chromedriver to the end of a game.
browser: setup
	$(BIN)/pytest -rs -m browser tests/api/test_play_page.py

# The documentation as a site, in site/; a broken link or a page that the navigation lacks is an error (never with
# --quiet: MkDocs then counts no warnings). Then it is opened in a browser, where there is one
# (tests/test_site_browser.py).
docs: .venv-docs/installed
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict
	.venv-docs/bin/python -m pytest -m 'browser or not browser' tests/test_site.py tests/test_site_browser.py
	@echo "site/index.html"

.venv-docs/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/pip install --quiet --constraint constraints.txt --editable '.[docs,train,mujoco]' pytest playwright
	touch $@

# Thousands of damaged configurations, hundreds of damaged folders; minutes.
fuzz: setup
	$(BIN)/pytest -m fuzz --numprocesses 2

# Workers and runner of a small study killed twenty times; minutes.
study-chaos: setup
	$(BIN)/pytest -m chaos

# The study engine on Ray: the rows of one machine, and a cluster of two nodes of which one is killed;
# minutes.
ray: .venv-ray/installed
	.venv-ray/bin/python -m pytest -m 'ray or cluster' tests/study tests/api/test_arena.py

.venv-ray/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-ray
	.venv-ray/bin/pip install --quiet --constraint constraints.txt --editable '.[train,ray]' pytest hypothesis
	touch $@

# Against mctx under JAX and pytorch-mppi, and the examples of other libraries, each in an environment of
# its own, and sudoku against another solver; twenty minutes.
peers: setup $(PEERS) $(LIBRARIES)
	.venv-peers/bin/python -m pytest -m peers $$(grep -rl 'mark\.peers' tests/planning tests/envs)
	$(BIN)/pytest -m peers tests/examples -k 'own_study or takes_longer'

# What a GPU has to show: that updates on it are those of the CPU and never wait for it, what a population costs, and
# the GPU presets of the studies of depth, of which each says in its head what it takes (hours; all are resumed by the
# same command). The extra mujoco is for the last.
GPU_STUDIES ?= depth_pays_gpu minimum_depth_gpu goal_reaching_gpu
gpu: setup
	@$(BIN)/python -c 'import sys, torch; sys.exit(None if torch.cuda.is_available() else "make gpu: torch sees no GPU")'
	$(BIN)/pytest -rs tests/agents/test_updates.py tests/agents/test_population.py tests/subjects/test_floors.py \
		tests/networks/test_accounting.py
	$(BIN)/rl-serial bench population --device cuda --members 32
	@for study in $(GPU_STUDIES); do sed -n '/^#/p;/^[^#]/q' configs/study/$$study.yaml; done
	@for study in $(GPU_STUDIES); do \
		$(BIN)/rl-serial study run configs/study/$$study.yaml --engine population --device cuda || exit; \
	done

# The example of one library, and the figure that it prints: make torchrl, make tianshou, make rllib, make skrl,
# make rl_zoo3, make minari; make notebook executes the notebook.
$(LIBRARIES): %: .venv-%/installed
	.venv-$*/bin/python -m pytest -m peers --capture=no tests/examples -k $*

$(LIBRARIES:%=.venv-%/installed): .venv-%/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-$*
	grep -v '^$(or $(UNPINNED_$*),none)==' constraints.txt > .venv-$*/constraints.txt
	.venv-$*/bin/pip install --quiet --constraint .venv-$*/constraints.txt --editable '.$(EXTRAS_$*)' pytest torch $(NEEDS_$*)
	touch $@

$(PEERS): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet --constraint constraints.txt --editable '.[peers,train]' pytest hypothesis
	# For its rules in `rl-serial bench games`; the rest of what it asks for is for its pictures and learned players.
	.venv-peers/bin/pip install --quiet --no-deps pgx svgwrite
	touch $@

# Every figure that has a target, beside it; twenty minutes on two free cores. The exit code is 1 where one is missed
# by more than a tenth. What it prints goes to docs/performance.md too.
bench: setup $(PEERS) .venv-sbx/installed
	$(BIN)/rl-serial bench all --write

# For `rl-serial bench train`: PPO in JAX, with some sixty packages that nothing else here needs.
.venv-sbx/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-sbx
	.venv-sbx/bin/pip install --quiet --constraint constraints.txt --editable '.[train,jax]' sbx-rl
	touch $@

# The README's figure and table: the demo with ten seeds, ten minutes of one core.
figures: setup
	$(BIN)/rl-serial study run configs/study/demo.yaml --seeds 10 --out $(DEMO)_ten_seeds > /dev/null
	@$(BIN)/rl-serial study report $(DEMO)_ten_seeds --publish results/demo
	cp results/demo/figures/*_accuracy_by_remaining.png docs/images/demo.png

clean:
	rm -rf .venv .venv-* build dist site *.egg-info
