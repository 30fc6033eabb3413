#!/bin/sh
# Parses the models with the adapters of Snowflake, BigQuery and Databricks, and compiles them with those that need no connection for it.
# Nothing runs there. The adapters come from the package index, into an environment of their own: var/clouds, or the folder given.
set -eu
cd "$(dirname "$0")/../.."
UV=${UV:-uv}
folder=${1:-var/clouds}
if ! test -x "$folder/.venv/bin/dbt"; then
    "$UV" venv --quiet "$folder/.venv"
    "$UV" pip install --quiet --python "$folder/.venv" "dbt-core>=1.11,<1.12" dbt-snowflake dbt-bigquery dbt-databricks
fi
cat > "$folder/profiles.yml" <<'PROFILES'
winback:
  target: snowflake
  outputs:
    snowflake: {type: snowflake, account: nowhere, user: nobody, password: none, role: none, database: winback, warehouse: none, schema: main, threads: 2}
    bigquery: {type: bigquery, method: oauth-secrets, token: none, project: nowhere, dataset: main, location: EU, threads: 2}
    databricks: {type: databricks, catalog: winback, schema: main, host: nowhere.invalid, http_path: /none, token: none, threads: 2}
PROFILES
WINBACK_HOME=$(mktemp -d)
export WINBACK_HOME
trap 'rm -rf "$WINBACK_HOME"' EXIT
dbt() {
    command=$1 cloud=$2
    shift 2
    echo "== $command with $cloud's adapter"
    .venv/bin/python -m winback.dbt_command "$folder/.venv/bin/dbt" --quiet --no-version-check "$command" \
        --profiles-dir "$folder" --target "$cloud" --target-path "$WINBACK_HOME/$cloud" "$@"
}
dbt parse databricks
for cloud in snowflake bigquery; do
    dbt parse "$cloud"
    dbt compile "$cloud" --no-introspect --no-populate-cache
    echo "$(find "$WINBACK_HOME/$cloud/compiled" -name '*.sql' | wc -l) models and tests compiled"
done
