# Every verb sets up what it needs on a fresh machine with Python 3.11 or newer; PYTHON=... names another one.
PYTHON ?= python3
# Processes that share the quick tests, which wait as much as they compute; they must not depend on being alone.
WORKERS ?= 3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LOCK := CUSTOM_COMPILE_COMMAND="make lock" .venv-lock/bin/pip-compile -q --upgrade --generate-hashes --allow-unsafe \
	--strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) ## a real file pushed and pulled among processes, one of them killed
	@$(BIN)/python examples/demo.py

test: $(READY) ## the quick tests, all of them deterministic
	@$(BIN)/pytest -q -m "not soak" -n $(WORKERS) --dist worksteal

check: $(READY) ## format, lint, types, floors
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy zmqfl tests $(wildcard examples/*.py)
	@$(BIN)/lint-imports

soak: $(READY) ## all tests, the long ones too, with thousands of seeds
	@ZMQFL_SEEDS=$${ZMQFL_SEEDS:-1000} $(BIN)/pytest -q --timeout 3600 -o faulthandler_timeout=3700

bench: $(READY) .venv-bench/.ready .venv-flare/.ready ## measure beside peers, and write docs/benchmarks.md
	@$(BIN)/python -m tests.bench

docs: $(READY) ## write the generated files again
	@schema=$$($(BIN)/zmqfl topology schema) && printf '%s\n' "$$schema" > conf/topology.schema.json

format: $(READY) ## format, and mend what the linter can mend
	@$(BIN)/ruff check --fix --quiet --exit-zero .
	@$(BIN)/ruff format .

venv: $(READY) ## only the set-up: .venv with pinned and hashed packages

lock: ## pin the newest packages that fit (Python 3.11, so that older ones are served too)
	@$(PYTHON) -m venv .venv-lock
	@.venv-lock/bin/pip install -q pip-tools
	@$(LOCK) --output-file requirements.txt pyproject.toml
	@$(LOCK) --output-file requirements-dev.txt requirements-dev.in

clean: ## remove all that make made
	@rm -rf $(VENV) .venv-lock .venv-bench .venv-flare *.egg-info build dist .hypothesis .*_cache
	@find zmqfl tests $(wildcard examples) -name __pycache__ -prune -exec rm -rf {} +

$(READY): requirements.txt requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "$(PYTHON) is not Python 3.11 or newer; name one: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "$(PYTHON) has no venv module; install it (Debian: apt-get install python3-venv)"; exit 1; }
	@echo "setting up $(VENV) (once, a minute or two)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements.txt -r requirements-dev.txt
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.venv-bench/.ready: tests/bench/requirements.txt
.venv-flare/.ready: tests/bench/requirements-flare.txt
.venv-bench/.ready .venv-flare/.ready:
	@echo "setting up $(@D) (once, a minute or two)"
	@$(PYTHON) -m venv --clear $(@D)
	@$(@D)/bin/pip install -q --disable-pip-version-check -r $< && touch $@ || echo "no $<: its peers are skipped"

.PHONY: help demo test check soak bench docs format venv lock clean
