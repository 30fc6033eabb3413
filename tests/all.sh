#!/bin/sh
# Everything that must hold, without network or secrets: `make test`, which is also what CI runs.
set -eu
cd "$(dirname "$0")/.."
UV=${UV:-uv}
run() { printf '\n== %s\n' "$1"; shift; "$@"; }

run "format" $UV run --no-sync ruff format --check .
run "lint" $UV run --no-sync ruff check .
run "types" $UV run --no-sync mypy
run "SQL lint" tests/sqllint/lint.sh
run "Dagster definitions" tests/dagster_definitions.sh
run "tests" $UV run --no-sync pytest -n "${WINBACK_TEST_WORKERS:-2}" --dist loadfile
