# Everything a person does here is one word; `make` alone lists the words.
#
#   PYTHON=python3.12   the interpreter .venv is made from (3.11 or newer)
#   PORT=8888           where `make lab` serves
#   LOCKED=1            install the exact versions of requirements-lock.txt instead of the newest allowed

PYTHON ?= python3
PORT ?= 8888
SEED ?= 0

VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))
LESSONS := $(sort $(wildcard notebooks/[0-9]*.ipynb))
BENCHMARKS := $(sort $(wildcard tests/benchmarks/[a-z]*.py))
ROOT_FLAG := $(shell [ "$$(id -u)" = 0 ] && echo --allow-root)

# Strict: every output is compared. sanitize.cfg says which parts of an output are nobody's claim (addresses).
NBVAL := --nbval --nbval-current-env --nbval-cell-timeout=120 --nbval-kernel-startup-timeout=120 \
         --nbval-sanitize-with=tests/notebooks/sanitize.cfg

# Unit tests and notebooks run on all CPUs; a file's tests stay together.
SIDE_BY_SIDE := -n auto --dist loadfile

# Two panels of JupyterLab that ask the network when it starts: its news and its update check.
QUIET_LAB := {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}

.PHONY: help venv lab test browser check fresh handouts book slides site save lesson bench soundness lock clean

help:
	@echo 'make lab       open the lessons in JupyterLab (PORT=8888)'
	@echo 'make test      unit tests, then every notebook run and compared with what it was saved with'
	@echo 'make browser   the tests that drive a real browser (need chromium)'
	@echo 'make check     ruff and mypy'
	@echo 'make fresh     every lesson from the wheel, in a fresh environment outside the clone'
	@echo 'make handouts  every notebook as a page that moves without a kernel or a network -> handouts/'
	@echo 'make book      the same as one book to print, with contents and page numbers -> handouts/book/book.pdf'
	@echo 'make slides    the same pages as screens for a beamer, stepped with the arrow keys -> handouts/slides/'
	@echo 'make site      the lessons as a site that runs them in a browser, with nothing to install -> build/site (READ= without the pages to read)'
	@echo 'make save      run every notebook and save it as it is kept in the project'
	@echo 'make lesson    a new lesson from the template (N=15 NAME=three-back-ends)'
	@echo 'make bench     every benchmark: a table, then one line of JSON'
	@echo 'make soundness the explorer against every order of 20,000 random programs (SEED=0, a night)'
	@echo 'make venv      .venv with everything tests and benchmarks need (PYTHON=python3, LOCKED=1)'
	@echo 'make lock      write requirements-lock.txt anew'
	@echo 'make clean     remove .venv and all that was built'

venv: $(READY)

$(READY): pyproject.toml requirements-lock.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "vtdkit needs Python 3.11 or newer, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1 | tail -n 1); name another: make venv PYTHON=python3.12" >&2; exit 1; }
	@$(PY) -c '' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV) || \
	  { echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "installing into $(VENV) (a minute or two the first time)"
	@$(PY) -m pip install -qq --disable-pip-version-check $(if $(LOCKED),-c requirements-lock.txt) -e '.[dev]'
	@mkdir -p $(VENV)/share/jupyter/lab/settings
	@echo '$(QUIET_LAB)' > $(VENV)/share/jupyter/lab/settings/overrides.json
	@touch $@

lab: venv
	@$(PY) -c 'import socket, sys; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("127.0.0.1", int(sys.argv[1])))' \
	  '$(PORT)' 2>/dev/null || { echo "port $(PORT) is taken (or not a port); choose another: make lab PORT=8889" >&2; exit 1; }
	$(PY) -m jupyterlab --ip=127.0.0.1 --port=$(PORT) --ServerApp.port_retries=0 --ServerApp.root_dir='$(CURDIR)' \
	  --LabApp.default_url=/lab/tree/notebooks/00-start-here.ipynb $(ROOT_FLAG)

test: venv
	$(PY) -m pytest $(SIDE_BY_SIDE) -m 'not browser'
	$(if $(NOTEBOOKS),$(PY) -m pytest $(SIDE_BY_SIDE) $(NBVAL) $(NOTEBOOKS),@echo 'no notebooks yet')

browser: venv
	$(PY) -m pytest -m browser -rs

check: venv
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy

fresh: venv
	$(PY) tests/fresh.py

handouts: venv
	$(PY) -m vtdkit handouts --out handouts $(LESSONS)

book: handouts
	$(PY) notebooks/site/book.py handouts/student handouts/book

slides: venv
	$(PY) -m vtdkit handouts --out handouts --slides $(LESSONS)

# An environment of its own: what builds the site brings extensions that JupyterLab itself must not load.
READ ?= build/read
SITE := build/site-venv/bin/python

site: venv
	@$(SITE) -c '' 2>/dev/null || $(PYTHON) -m venv --clear build/site-venv
	@$(SITE) -m pip install -qq --disable-pip-version-check -r notebooks/site/requirements.txt -e .
	$(if $(READ),$(PY) -m vtdkit handouts --out $(READ) $(LESSONS))
	$(SITE) notebooks/site/build.py $(if $(READ),--read $(READ)/student)

save: venv
	$(PY) -m tests.notebooks.save $(NOTEBOOKS)

lesson: venv
	@$(PY) -m tests.notebooks.newlesson '$(N)' '$(NAME)'

bench: venv
	@for each in $(BENCHMARKS); do echo "== $$each"; $(PY) $$each || exit 1; done

# Prints the seeds of programs that differ; begun anew it goes on where it stopped (build/soundness.jsonl).
soundness: venv
	$(PY) -m tests.kernel.explored.soundness 20000 --seed $(SEED)

# The newest allowed versions as of today, found in an environment of its own.
lock:
	@rm -rf build/lock && $(PYTHON) -m venv build/lock
	@build/lock/bin/python -m pip install -qq --disable-pip-version-check -e '.[dev]'
	@{ echo '# The exact versions a class image is built from: pip install -c requirements-lock.txt -e .[dev], or make venv LOCKED=1.'; \
	   echo "# Written by make lock with $$(build/lock/bin/python --version)."; \
	   build/lock/bin/python -m pip freeze --exclude-editable; } > build/requirements-lock.txt
	@mv build/requirements-lock.txt requirements-lock.txt && rm -rf build/lock
	@echo 'requirements-lock.txt is written; look at the diff, run the tests, commit'

clean:
	rm -rf $(VENV) build dist handouts .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
