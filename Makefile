# Every target makes its own virtual environment in .venv on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SWATCH ?= examples/swatches/stone_wall.jpg
export PYTHONDONTWRITEBYTECODE :=  # with the bytecode of libraries, an interpreter starts in half the time

.PHONY: demo test slow check bench clean

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --no-compile --quiet --disable-pip-version-check --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --no-compile --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(VENV)/installed  ## a 1024x1024 tileable texture and its contact sheet
	mkdir -p out
	$(BIN)/texgen expand $(SWATCH) -o out/demo.png --size 1024 --tileable both --seed 7 --overwrite
	$(BIN)/python benchmarks/sheet.py $(SWATCH) out/demo.png -o out/demo_sheet.png

test: $(VENV)/installed  ## the whole suite but the slow tests
	$(BIN)/python -m pytest -m "not slow" -n auto --maxprocesses 4 --dist loadfile

slow: $(VENV)/installed  ## the slow tests
	$(BIN)/python -m pytest -m slow

check: $(VENV)/installed  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/installed  ## quality and speed tables
	$(BIN)/python benchmarks/quality.py examples/swatches benchmarks/swatches --out out/quality
	$(BIN)/python benchmarks/speed.py

clean:
	rm -rf $(VENV) out build *.egg-info
