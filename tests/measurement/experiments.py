"""Put an experiment in as enrolments, arms and orders, and read what the marts say of it.

This is the way by which published experiments are checked (docs/measurement.md): each arm's customers are enrolled in a program of one
version, their purchases are raw orders, and the whole derivation runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from tests.warehouse.building import derive, load

ENROLLED_AT = datetime(2030, 1, 1)
MODELS_AND_SEEDS = ("--exclude-resource-type", "unit_test", "--exclude-resource-type", "test")


def measured(
    home: Path,
    experiments: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]],
    *,
    window_days: int = 14,
    as_of: datetime = datetime(2030, 3, 1),
    mart: str = "campaign_lift",
    again: Mapping[str, Sequence[str]] | None = None,
) -> list[dict[str, Any]]:
    """The rows of `mart` after one derivation.

    Parameters
    ----------
    experiments
        Program name -> arm (`treatment`, `holdout`) -> customer -> amounts of the orders within the window, empty for no order. A customer
        may be in several programs, as a holdout that experiments share is; their orders are the same ones then.
    again
        Program -> customers who entered it a second time, a day later.
    """
    enrolments: list[dict[str, Any]] = []
    amounts: dict[str, Sequence[float]] = {}
    for program, arms in experiments.items():
        for arm, people in arms.items():
            for customer, spent in people.items():
                entries = 2 if customer in (again or {}).get(program, ()) else 1
                enrolments += [
                    {
                        "program": program,
                        "customer_id": customer,
                        "arm": arm,
                        "enrolment_id": f"{program}|{customer}|{entry}",
                        "enrolled_at": ENROLLED_AT + timedelta(days=entry),
                    }
                    for entry in range(entries)
                ]
                amounts[customer] = spent
    orders = [(f"{customer}-{number}", customer, spend) for customer, spent in amounts.items() for number, spend in enumerate(spent)]
    count = len(enrolments)
    load(
        home,
        raw={
            "customers": pa.table({"customer_id": list(amounts)}),
            "orders": pa.table(
                {
                    "order_id": [order for order, _, _ in orders],
                    "customer_id": [customer for _, customer, _ in orders],
                    "ordered_at": [ENROLLED_AT + timedelta(days=3, hours=5)] * len(orders),
                    "status": ["paid"] * len(orders),
                    "total": [f"{spend:.4f}" for _, _, spend in orders],
                }
            ),
        },
        programs={
            "versions": [
                {
                    "program": program,
                    "version": 1,
                    "is_draft": False,
                    "effective_at": ENROLLED_AT,
                    "program_group": program,
                    "holdout_percent": 100 * len(arms.get("holdout", {})) / sum(len(people) for people in arms.values()),
                    "measure_window_days": window_days,
                    "attribution_hours": 72,
                    "exit_on_purchase": True,
                    "exit_on_engagement": False,
                    "step_count": 1,
                }
                for program, arms in experiments.items()
            ],
        },
        ledger={
            "enrolments": pa.table(
                {
                    **{
                        name: [row[name] for row in enrolments] for name in ("enrolment_id", "program", "customer_id", "arm", "enrolled_at")
                    },
                    "version": [1] * count,
                    "anchor_at": [ENROLLED_AT - timedelta(days=90)] * count,
                    "as_of": [ENROLLED_AT] * count,
                    "recorded_at": [ENROLLED_AT] * count,
                }
            ),
        },
    )
    path = derive(home, as_of, select=f"+{mart}", arguments=MODELS_AND_SEEDS)
    return rows(path, f"select * from marts.{mart} order by all")


def rows(path: Path, query: str) -> list[dict[str, Any]]:
    """Rows of a query over the warehouse at `path`, by column name."""
    with duckdb.connect(str(path), read_only=True) as connection:
        cursor = connection.execute(query)
        names = [column[0] for column in cursor.description or []]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
