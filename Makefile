# Winback. `make help` lists the commands.
SHELL := /bin/sh
.DEFAULT_GOAL := help
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
RUN := $(UV) run --frozen --no-sync
SOURCE := $(if $(DATA),--data "$(DATA)",--demo)

.PHONY: help run serve preview test test-engines test-clouds bench clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: .venv/installed ## run the demo: 15 days on real baskets (DATA=folder for your own files, DATE=, DAYS=, MAPPING=)
	@$(RUN) winback run $(SOURCE) $(if $(DATE),--date $(DATE)) $(if $(DAYS),--days $(DAYS)) $(if $(MAPPING),--mapping $(MAPPING))

serve: .venv/installed ## open the Dagster UI and the dashboard on the state of the last run (PORT=3000)
	@$(RUN) winback serve $(if $(PORT),--port $(PORT))

preview: .venv/installed ## what a program's file would do as it stands (PROGRAM=name); nothing is sent
	@$(RUN) winback preview $(PROGRAM)

test: .venv/installed ## format, lint, types, SQL lint, unit, property and end-to-end tests
	@UV=$(UV) sh tests/all.sh

test-engines: .venv/installed ## every mart equal on DuckDB, PostgreSQL and Spark, on the demo and Online Retail II (needs PostgreSQL, Java, pyspark)
	@$(RUN) python -c "import pyspark, dbt.adapters.spark" 2>/dev/null || { echo "missing: pyspark and dbt-spark; $(UV) sync --frozen --extra spark --inexact"; exit 1; }
	@command -v java >/dev/null || test -x "$$JAVA_HOME/bin/java" || { echo "missing: Java 17 or 21; apt-get install openjdk-17-jre-headless, or set JAVA_HOME"; exit 1; }
	@$(RUN) pytest tests/engines/whole_data.py -n 0 -s

test-clouds: .venv/installed ## parse and compile the models with the adapters of Snowflake, BigQuery and Databricks, without a connection
	@UV=$(UV) sh tests/engines/clouds.sh

bench: .venv/installed ## measure, a night (PART=derive, deliver, days, listen or shards; SIZE=1000000 customers, actions, events)
	@for part in $(or $(PART),derive deliver days); do $(RUN) python -m benchmarks.$$part $(if $(and $(SIZE),$(filter-out days shards,$$part)),--size $(SIZE)) || exit; done

clean: ## delete the environment and everything that runs have made
	rm -rf .venv .uv var

# The environment, from the lock file; made again when the lock file changes.
.venv/installed: uv.lock pyproject.toml
	@command -v uv >/dev/null 2>&1 || test -x .uv/bin/uv || { echo "installing uv into .uv"; python3 -m pip install --quiet --disable-pip-version-check --target .uv uv; }
	@UV=$$(command -v uv || echo .uv/bin/uv); echo "making the environment (.venv) from uv.lock"; $$UV sync --frozen --compile-bytecode --quiet && $$UV sync --frozen --quiet --project tests/sqllint
	@touch $@
