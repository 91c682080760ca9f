# The Python to make the virtual environment with, and the requirement that says which Django goes into it.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
DJANGO ?= Django
VENV ?= .venv
# The databases to test on: sqlite postgresql mariadb. Each one that is named must be installed.
DATABASES ?=

bin := $(VENV)/bin
pip := $(bin)/python -m pip --disable-pip-version-check -qq
manage := $(bin)/python testproject/manage.py
on_sqlite := DATABASE=sqlite DATABASE_NAME=db.sqlite3
export VENV

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo admin test servers lint docs mutants faults faults-mutants bench clean

help: ## Say what there is
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18
	@echo 'Variables: PYTHON=python3.13  DJANGO="Django~=6.1.0"  VENV=.venv  DATABASES="sqlite postgresql mariadb"'
	@echo 'Of bench: BENCH="--workloads drain --jobs 1000" (or --help)'
	@echo 'Of mutants: MUTANTS=100 (or all)  SEED=1  MODULES="states worker/recovery"'

demo: $(VENV)/.demo ## A shop with work to do: enqueue every kind of it, work it off, look at it
	@rm -rf testproject/db.sqlite3* testproject/media
	@$(on_sqlite) $(manage) migrate --verbosity 0
	@$(on_sqlite) $(manage) shop_demo

admin: $(VENV)/.demo ## Serve the demo's admin at http://127.0.0.1:8000/admin/
	@test -f testproject/db.sqlite3 || $(MAKE) --no-print-directory demo
	@echo "Log in as admin, with the password admin."
	@$(on_sqlite) $(manage) runserver

test: $(VENV)/.test ## Run the tests on SQLite, and on PostgreSQL and MariaDB where they are installed
	@$(bin)/python scripts/test.py $(DATABASES)

servers: $(VENV)/.python ## Run a PostgreSQL and a MariaDB for the tests until Ctrl-C, where they are installed
	@$(bin)/python scripts/servers.py

lint: $(VENV)/.lint ## Look at the code without running it: ruff, import-linter, mypy, missing migrations
	$(bin)/ruff check
	$(bin)/ruff format --check
	$(bin)/lint-imports
	$(bin)/mypy
	$(on_sqlite) $(manage) makemigrations --check --dry-run

docs: $(VENV)/.docs ## Build the site of the documentation into build/docs; a warning is an error
	$(bin)/sphinx-build --quiet --fail-on-warning --keep-going --nitpicky --fresh-env -c docs . build/docs

mutants: $(VENV)/.test ## Change the core at random places, and report which changes no test notices
	@$(bin)/python scripts/mutants

faults: $(VENV)/.test ## Hurt workers and databases in the long form, and print the figures of docs/guarantees.md
	@$(bin)/python scripts/faults $(DATABASES)

faults-mutants: $(VENV)/.test ## Take out of the core what keeps its promises, and see whether the faults find out
	@$(bin)/python scripts/mutants/faults.py

bench: $(VENV)/.python ## Measure beside bare SQL and other queues, which it installs into .cache/bench-venv: hours
	$(bin)/python -m benchmarks $(BENCH)

clean: ## Remove what the other targets made
	rm -rf .venv* .cache .nox .*_cache .hypothesis build dist testproject/*.sqlite3* testproject/media
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/.python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed and was not found. Say where: make PYTHON=…" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or later is needed; this is $$($(PYTHON) --version 2>&1). Say which: make PYTHON=…" >&2; exit 1; }
	@echo "Making the virtual environment $(VENV) …"
	@$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) cannot make virtual environments; Debian has that in the package python3-venv." >&2; exit 1; }
	@$(pip) install --upgrade 'pip>=25.1'
	@touch $@

# One file for each dependency group that is installed: the demo needs few packages, and should start fast.
$(VENV)/.demo $(VENV)/.test $(VENV)/.lint $(VENV)/.docs: $(VENV)/.python pyproject.toml
	@echo "Installing what 'make $(@F:.%=%)' needs …"
	@$(pip) install --editable . --group $(@F:.%=%) '$(DJANGO)'
	@touch $@
