# Every target sets up what it needs itself and is quick when that is done.
PYTHON ?= python3
export PYTHON
BIN := .venv/bin
SETUP := deploy/setup.sh
# Three tests at once on two cores: a third of them wait for a broker, a radio or a clock. WORKERS=0
# is one after the other, in this process (a debugger needs that).
WORKERS ?= 3
PYTEST_ARGS ?=

.PHONY: help demo test check check-bluez bench bench-table docs freeze check-fresh soak proof scale torture torture-alerts lock clean python

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 16

demo: python ## the whole system on synthetic people: DEMO_ARGS="--people 3 --days 3"
	$(BIN)/flarecast demo $(DEMO_ARGS)

test: python ## every test: PYTEST_ARGS="tests/unit -k spool"
	@$(SETUP) debian mosquitto mosquitto_pub=mosquitto-clients chromium pg_ctlcluster=postgresql
	@$(SETUP) node
	$(BIN)/python -m pytest -n $(WORKERS) --max-worker-restart=1 $(PYTEST_ARGS)

check: python ## format, lint, types, import directions
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/lint-imports
	$(BIN)/pyright

soak: python ## ten minutes of random faults on the virtual radio: SOAK_ARGS="--minutes 1 --seed 7"
	$(BIN)/python -m tests.soak $(SOAK_ARGS)

proof: python ## a million random and mutated messages, every one accounted for: PROOF_ARGS="--messages 20000"
	$(BIN)/python -m tests.fuzz $(PROOF_ARGS)
	ALERT_EXAMPLES=3000 $(BIN)/python -m pytest -n 0 tests/property/test_alert_machine.py

scale: python ## a night by threads, by Dask, and with a worker killed: equal tables
	$(BIN)/python -m tests.scale $(SCALE_ARGS)

mutants: python ## faults put into the alert engine by hand: a test must notice each: MUTANTS="lease"
	$(BIN)/python -m tests.mutants $(MUTANTS)

torture: python ## 200 kills of gateway, broker and collector, the disk full, the cable pulled; 50 of the night, 15 of the publisher: TORTURE_ARGS="--kills 20 --seed 7"
	@$(SETUP) debian mosquitto ip=iproute2
	$(BIN)/python -m tests.torture $(TORTURE_ARGS)
	$(BIN)/python -m tests.torture.night $(NIGHT_ARGS)
	$(BIN)/python -m tests.torture.publishing $(PUBLISHING_ARGS)

torture-alerts: python ## 50 kills of the alert worker, 1,000 alerts to servers that fail in every way: TORTURE_ARGS="--seed 7"
	$(BIN)/python -m tests.torture.alerts $(TORTURE_ARGS)

bench: python ## measure and write bench.json: ONLY=name
	@$(SETUP) debian mosquitto mosquitto_sub=mosquitto-clients
	@$(SETUP) node
	$(BIN)/python -m bench $(ONLY)

bench-table: python ## the table of bench.json in Markdown, for the README
	@$(BIN)/python -m bench --markdown

docs: python ## the data dictionary, from the schemas
	$(BIN)/python -m docs.data_dictionary

freeze: python ## accept the table schemas as they are: FREEZE_ARGS=--before-release
	$(BIN)/python -m tests.contract.schemas $(FREEZE_ARGS)

check-fresh: ## make demo and make test of the last commit in a new Debian 12
	deploy/check-fresh.sh $(FRESH_TARGETS)

check-bluez: python ## the BLE edge on a real bluetoothd, in an emulated machine: SCENARIOS="echo drop"
	@deploy/bluez-vm/check.sh $(SCENARIOS)

lock: ## resolve pyproject.toml anew: UPGRADE=1 for newer releases
	deploy/lock.sh

clean: ## everything the targets made, the environment too
	rm -rf .venv .cache .pytest_cache .hypothesis .ruff_cache .import_linter_cache demo-out bench.json
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

python:
	@$(SETUP) python
