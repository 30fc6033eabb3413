"""PostgreSQL as the engine: what goes wrong says which setting, and no password."""

from __future__ import annotations

import psycopg
import pytest
from pydantic import SecretStr

from tests.engines.conftest import postgres_reached
from tests.landing.conftest import Shop
from winback.engines import open_engine
from winback.engines.postgres import Postgres
from winback.errors import BadConfig
from winback.settings import Settings

SECRET = "not-to-be-seen"


def told(url: str) -> str:
    with pytest.raises(BadConfig, match="WINBACK_ENGINE_URL") as problem:
        open_engine(Settings(target="postgres", engine_url=SecretStr(url))).check()
    assert SECRET not in str(problem.value)
    assert SECRET not in repr(problem.value.__context__)
    return str(problem.value)


def test_a_server_that_can_be_used(postgres_url: str) -> None:
    Postgres(postgres_url).check()


def test_nobody_listens() -> None:
    assert "cannot be reached" in told(f"postgresql://winback:{SECRET}@127.0.0.1:1/winback")


def test_a_database_that_is_not_there(postgres_url: str) -> None:
    address = postgres_url.rpartition("/")[0].replace("winback@", f"winback:{SECRET}@")
    assert 'database "elsewhere" does not exist' in told(f"{address}/elsewhere")


def test_a_password_that_is_refused(postgres_url: str) -> None:
    """The throw-away cluster asks nobody for a password; a role whose time is over is refused in the same words and at the same point."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("drop role if exists shut_out")
        connection.execute("create role shut_out nologin")
    assert 'role "shut_out" is not permitted to log in' in told(postgres_url.replace("winback@", f"shut_out:{SECRET}@"))


@pytest.mark.parametrize(
    "url",
    [
        "mysql://winback@127.0.0.1/winback",
        "postgresql:///winback",
        f"postgresql://winback:{SECRET}@127.0.0.1",
        f"postgresql://winback:p@{SECRET}@127.0.0.1/winback",
        f"postgresql://winback:p/{SECRET}@127.0.0.1/winback",
        f"postgresql://winback:{SECRET}#@127.0.0.1/winback",
        f"postgresql://winback:{SECRET}@127.0.0.1:port/winback",
        f"postgresql://winback:{SECRET}@127.0.0.1/winback?sslmode=require",
    ],
)
def test_an_address_of_another_form(url: str) -> None:
    told(url)


def test_no_address() -> None:
    with pytest.raises(BadConfig, match="WINBACK_ENGINE_URL is not set; target postgres needs postgresql://"):
        open_engine(Settings(target="postgres"))


def test_no_rights(postgres_url: str, shop: Shop) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("drop role if exists stranger")
        connection.execute("create role stranger login")
        connection.execute(f"revoke create on database {postgres_url.rpartition('/')[2]} from public")
    stranger = postgres_url.replace("winback@", "stranger@")
    assert "may not create schemas" in told(stranger)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"grant create on database {postgres_url.rpartition('/')[2]} to stranger")
    shop.put_needed()
    shop.land()
    postgres_reached(postgres_url).engine.hand_over(shop.connection)
    with pytest.raises(BadConfig, match=r"WINBACK_ENGINE_URL: PostgreSQL refuses: .*permission denied"):
        Postgres(stranger).hand_over(shop.connection)


def test_text_is_ordered_and_lowered_as_in_the_workbench(postgres_url: str, shop: Shop) -> None:
    """Whatever the locale of the database: ties are broken by ids, and statuses compare in lower case."""
    shop.put_needed()
    shop.land()
    shop.connection.execute("insert into ledger.messages select 1, unnest(['a', 'B', '_', 'Ä']), null")
    postgres_reached(postgres_url).engine.hand_over(shop.connection)
    query = "select message_id, lower(message_id) from ledger.messages order by message_id"
    expected = shop.ask(query)
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute(query).fetchall() == expected == [("B", "b"), ("_", "_"), ("a", "a"), ("Ä", "ä")]
