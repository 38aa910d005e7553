# Everything sets itself up: a machine with Python 3.11 and make is enough.
.PHONY: help install demo test test-all test-browser compose-test check settings bench fuzz format lock clean
.DEFAULT_GOAL := help

# Three workers for two processors, for servers and programs make each wait; with worksteal each keeps to a stretch of
# the suite, and its servers serve all of that. Compiled tests are kept: compiling takes each worker ten seconds.
PYTEST := PYTHONDONTWRITEBYTECODE= .venv/bin/pytest -n 3 --dist worksteal

help: ## these lines
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: ## make .venv with .venv/bin/recyclic-backups in it
	@scripts/install

demo: install ## see it work: a database backed up by Dagster, restored and compared (ARGS="--no-ui")
	@.venv/bin/recyclic-backups demo $(ARGS)

test: install ## the tests, against real PostgreSQL servers that they start
	@$(PYTEST) -m "not slow and not browser" $(ARGS)

test-all: install ## every test, the slow ones too: every fault at every step (half an hour)
	@$(PYTEST) -m "not browser" $(ARGS)

test-browser: install ## what people see: Dagster's pages of a quarter, clicked through in Chromium (five minutes)
	@scripts/install-browser
	@.venv/bin/pytest -m browser recyclic_backups_tests/browser $(ARGS)

compose-test: install ## the containers, from a filled .env to the loss of everything (a quarter of an hour; needs Docker)
	@.venv/bin/python -m recyclic_backups_tests.docker.compose_run $(ARGS)

check: install ## lint, types, layers, and the tests of the documentation
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@.venv/bin/pytest -m "not typed and not browser" recyclic_backups_tests/docs

settings: install ## write docs/settings.md and .env.example anew, from the table in recyclic_backups/config/settings.py
	@.venv/bin/python -m recyclic_backups_tests.docs.setting_tables

bench: install ## speed and memory beside pg_dump and the old script, as ratios (ARGS="--scale 20 --json FILE")
	@.venv/bin/python -m recyclic_backups_tests.bench $(ARGS)

fuzz: install ## look for bytes that surprise a reader (ARGS="--seconds 3600")
	@.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-fuzz.lock
	@.venv/bin/python -m recyclic_backups_tests.fuzz $(ARGS)

format: install ## put the code into shape
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

lock: install ## pin dependencies anew, after a change in pyproject.toml
	@.venv/bin/uv pip compile pyproject.toml --extra dev --upgrade --quiet --generate-hashes --python-version 3.11 \
	  --no-emit-index-url --no-annotate --no-header --no-strip-extras --output-file requirements.lock
	@for image in dagster:pyproject.toml rescue:docker/locks/rescue.in build:docker/locks/build.in; do \
	  .venv/bin/uv pip compile "$${image#*:}" --constraint requirements.lock --quiet --generate-hashes --python-version 3.11 \
	    --no-emit-index-url --no-annotate --no-header --no-strip-extras --output-file "docker/locks/$${image%%:*}.lock" || exit 1; \
	done

clean: ## remove .venv and caches
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
