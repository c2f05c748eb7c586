# Everything a fresh clone needs: a machine with Python 3.11 to 3.13, nothing else.
PYTHON ?= python3
BIN := .venv/bin
RECIPE := examples/press-operator/recipe.yaml
KEY := examples/press-operator/keys/release
RELEASE := releases/press-operator-assistant-1.0.0

.PHONY: setup demo test check bench-adapt bench-demo bench-audit bench-understand bench-correct bench-charter bench-serve families silent-faults reference pictures clean

setup: .venv/installed

# pip and its constraints file, because torch 2.13.0 is then the build for the CPU
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup
	test -f $(KEY).pem || $(BIN)/limpide keys new $(KEY).pem
	$(BIN)/limpide run $(RECIPE)
	$(BIN)/limpide verify $(RELEASE) --key $(KEY).pub
	$(BIN)/limpide ask $(RELEASE) "What does fault E-104 mean?" --key $(KEY).pub

# Chromium and axe-core, for the tests of the studio, are fetched when absent
test: setup
	$(BIN)/python scripts/browser_setup.py
	$(BIN)/python -m pytest -n auto --dist loadfile

check: setup
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/contracts

# Files written by the program; `make check` fails when they are out of step
reference: setup
	$(BIN)/python scripts/reference.py --write

families: setup
	$(BIN)/python -m pytest tests/parity/test_families.py --write-capabilities
	$(BIN)/python scripts/reference.py --write

silent-faults: setup
	$(BIN)/python -m pytest tests/faults -n0 --write-silent-faults

# nothing else may run meanwhile
bench-adapt: setup
	$(BIN)/python benchmarks/training.py

# DATA: a folder that holds bbq/ and crows-pairs/ as their authors publish them; nothing else may run meanwhile
bench-audit: setup
	$(BIN)/python benchmarks/audit.py $(if $(DATA),--data "$(DATA)")

# nothing else may run meanwhile
bench-understand: setup
	$(BIN)/python benchmarks/understand.py

# nothing else may run meanwhile; CROWS, BBQ: files of CrowS-Pairs and BBQ, measured before and after
bench-correct: setup
	$(BIN)/python benchmarks/correct.py $(if $(CROWS),--crows "$(CROWS)") $(if $(BBQ),--bbq $(BBQ))

# nothing else may run meanwhile
bench-charter: setup
	$(BIN)/python benchmarks/charter.py

# nothing else may run meanwhile
bench-serve: setup
	$(BIN)/python benchmarks/serve.py

bench-demo: setup
	$(BIN)/python benchmarks/demo.py
	$(BIN)/python scripts/benchmarks_page.py --write

# The pictures of the README, from the release that `make demo` made (needs chromium)
pictures: setup
	$(BIN)/python scripts/pictures.py $(RELEASE)

clean:
	rm -rf .venv .venv-bench .venv-bench-audit .venv-bench-attribution .venv-bench-lens .limpide
