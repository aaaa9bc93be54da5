.PHONY: demo test check install fmt
PY ?= python3
VENV := .venv
BIN := $(VENV)/bin

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt setup.py $(wildcard native/*.c native/*/*.c native/*.h native/*/*.h)
	$(PY) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[models,tables,dev]'
	touch $@

demo: install
	$(BIN)/fewer demo

test: install
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal

check: install
	$(BIN)/python scripts/check.py
