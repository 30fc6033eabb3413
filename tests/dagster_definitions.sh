#!/bin/sh
# Dagster loads the project as `dg` and as a workspace do.
set -eu
cd "$(dirname "$0")/.."
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
export WINBACK_HOME="$home" DAGSTER_HOME="$home/dagster"
.venv/bin/python -c "from pathlib import Path; from winback.home import prepare_home; prepare_home(Path('$home'))"
.venv/bin/dg check defs
