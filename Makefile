# The verbs are the same by hand and in CI; each sets up what it needs.
#
#   make serve   serve examples/hello.py on 127.0.0.1:8000
#   make test    everything a change must pass: formatting, lint, types, tests on each Python found
#   make check   only formatting, lint and types
#   make bench   measure against other servers (installs them into .venv-bench, one by one)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BUILD := poolhttp/_native.c poolhttp/_native.h poolhttp/_native_build.py pyproject.toml setup.py

.PHONY: serve test check format bench clean

serve: $(VENV)/.installed
	$(BIN)/python -m poolhttp serve examples.hello:app --bind 127.0.0.1:8000

test: check
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest
	$(BIN)/python -m coverage combine -q
	$(BIN)/python -m coverage report
	PYTHON=$(PYTHON) sh scripts/other-pythons

check: $(VENV)/.tested
	$(BIN)/python -m ruff format --check poolhttp tests bench examples setup.py
	$(BIN)/python -m ruff check poolhttp tests bench examples setup.py
	$(BIN)/python -m mypy poolhttp tests bench examples

format: $(VENV)/.tested
	$(BIN)/python -m ruff check --fix poolhttp tests bench examples setup.py
	$(BIN)/python -m ruff format poolhttp tests bench examples setup.py

bench: $(VENV)/.tested
	$(BIN)/python -m bench.install
	$(BIN)/python -m bench

clean:
	rm -rf .venv .venv-bench .venv-3.* build dist *.egg-info poolhttp/*.so .coverage* .mypy_cache \
	    .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# CFLAGS: our C code compiles without a warning, here and in CI.
$(VENV)/.installed: $(VENV)/bin/python $(BUILD)
	CFLAGS="-Werror" $(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/.tested: $(VENV)/.installed
	CFLAGS="-Werror" $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,check]'
	touch $@
