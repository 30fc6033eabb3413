"""derive: every dbt model is an asset, every data test a check on it."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, dbt_assets
from pydantic import Field

from dagster_project.dbt_build import build, read_manifest
from dagster_project.failures import told_plainly
from dagster_project.partitions import DAYS, ONE_DAY_A_RUN, WAREHOUSE_POOL, as_of
from winback.settings import load_settings


class _Translator(DagsterDbtTranslator):
    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str:
        """The folder that the model lives in: staging, customers, audiences, journeys, reporting, ..."""
        return str(dbt_resource_props["fqn"][-2]) if dbt_resource_props["resource_type"] == "model" else "seeds"

    def get_description(self, dbt_resource_props: Mapping[str, Any]) -> str:
        return str(dbt_resource_props.get("description", ""))


class Derivation(dg.Config):
    """What a run may ask of this step (in the launchpad, or `winback run --full-refresh`)."""

    full_refresh: bool = Field(False, description="Derive everything anew, also what is kept from day to day. The result is the same.")


_MANIFEST = read_manifest(load_settings())
_TRANSLATOR = _Translator()


@dbt_assets(
    manifest=_MANIFEST,
    name="derive",
    exclude="resource_type:unit_test",
    partitions_def=DAYS,
    dagster_dbt_translator=_TRANSLATOR,
    pool=WAREHOUSE_POOL,
    backfill_policy=ONE_DAY_A_RUN,
)
def derived(context: dg.AssetExecutionContext, config: Derivation) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
    with told_plainly():
        yield from build(load_settings(), as_of(context), _MANIFEST, _TRANSLATOR, full_refresh=config.full_refresh)
