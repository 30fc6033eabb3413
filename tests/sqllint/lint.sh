#!/bin/sh
# Lints the SQL that dbt compiles, in a home of its own.
set -eu
cd "$(dirname "$0")/../.."
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
WINBACK_HOME=$home
export WINBACK_HOME
.venv/bin/python -m winback.dbt_command tests/sqllint/.venv/bin/sqlfluff lint --disable-progress-bar --processes 2 dbt_project/models dbt_project/tests
