# Everything a person types. Each target first makes the machine ready, which takes no time when it is.
PYTHON ?= python3
STATE  ?= $(or $(SANDSTREAM_STATE),.state)
# Most tests wait, for a limit or a lease to pass, more than they work: two files at a time.
TEST_PROCESSES ?= 2
TEST_STATE ?= $(or $(SANDSTREAM_TEST_STATE),.state-test)
RUN    := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup setup-tests demo up test test-v2 test-repeat soak bench lint lock clean

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

setup: ## Debian packages, .venv, Docker engine, images, Nix channel: what is missing of them
	@$(PYTHON) -m deploy --state $(STATE)

demo: setup ## submissions in several languages run live before your eyes; leaves nothing running
	@SANDSTREAM_STATE=$(STATE) $(RUN) -m sandstream demo

up: setup ## serve on 127.0.0.1:8000 until Ctrl-C
	@SANDSTREAM_STATE=$(STATE) $(RUN) -m sandstream up

setup-tests:
	@$(PYTHON) -m deploy --state $(TEST_STATE)

test: setup-tests ## lint, types, then every test
	@$(MAKE) --no-print-directory lint
	SANDSTREAM_TEST_STATE=$(TEST_STATE) $(RUN) -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile \
	    --no-loadscope-reorder --durations 20

SECONDS ?= 600
soak: setup-tests ## everything of ours is killed and frozen under load for SECONDS (600), SEED=... as before
	@SANDSTREAM_TEST_STATE=$(TEST_STATE) $(RUN) -m tests.reliability --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

TIMES ?= 20
test-repeat: setup-tests ## the tests of limits and outcomes TIMES (20) times, three runs at once (an hour and a half)
	@SANDSTREAM_TEST_STATE=$(abspath $(TEST_STATE)) $(RUN) -m tests.repeat --times $(TIMES) --at-once 3

test-v2: setup-tests ## the sandbox's tests in an emulated Debian 12: cgroup v2, systemd, AppArmor (up to 45 minutes)
	@SANDSTREAM_TEST_STATE=$(TEST_STATE) $(RUN) -m tests.v2

bench: setup ## where a submission's time goes, beside bare nsjail
	@SANDSTREAM_STATE=$(STATE) $(RUN) -m bench

lint: ## ruff and mypy alone
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(RUN) -m mypy -p deploy -p bench

lock: ## write requirements.txt again from pyproject.toml
	@$(RUN) -m pip --disable-pip-version-check install --quiet pip-tools
	@$(RUN) -m piptools compile --quiet --extra dev --generate-hashes --strip-extras --no-header \
	    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --output-file requirements.txt pyproject.toml

clean: ## remove .venv and all state, the submissions' history too (images stay)
	rm -rf .venv $(STATE) $(TEST_STATE) .pytest_cache .mypy_cache .ruff_cache
