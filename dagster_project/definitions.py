"""What Dagster loads: everything in `defs/`, and one policy for all of it.

Runs execute in one process: dbt, Great Expectations and the warehouse are opened once a day, not once a step.
"""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from dagster_project.senders import help_send


@dg.definitions
def defs() -> dg.Definitions:
    return dg.Definitions.merge(
        dg.load_from_defs_folder(path_within_project=Path(__file__).resolve().parent),
        dg.Definitions(jobs=[help_send], executor=dg.in_process_executor),
    )
