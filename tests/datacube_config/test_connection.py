"""Opening the index, and what is said where that fails."""

import socket
from pathlib import Path

import pytest
from sqlalchemy import QueuePool, text

from datacube_config.connection import open_index, shown_url
from datacube_config.errors import IndexUnavailable
from datacube_config.settings import Settings
from products.sensors import SENSORS


def server(home: Path, url: str) -> Settings:
    return Settings.model_validate({"home": home, "index_url": url})


def test_an_open_index_lists_the_source_products_and_reaches_the_neocube_schema(any_settings: Settings) -> None:
    with open_index(any_settings) as index, index.engine.connect() as connection:
        assert index.driver == any_settings.index_driver
        products = {product.name for product in index.dc.index.products.get_all()}
        assert products == {sensor.product for sensor in SENSORS.values()}
        assert connection.scalar(text("select count(*) from neocube.quarantine")) == 0


def test_two_indexes_are_open_at_once(embedded_settings: Settings, server_settings: Settings) -> None:
    with open_index(embedded_settings) as one, open_index(server_settings) as other:
        assert one.dc.index.url != other.dc.index.url
        assert len(one.dc.list_products()) == len(other.dc.list_products())


def test_an_index_without_init_asks_for_it(neocube_home: Path) -> None:
    with (
        pytest.raises(IndexUnavailable, match=r"no table agdc\.dataset of the postgres driver: run `neocube init`"),
        open_index(Settings(home=neocube_home)),
    ):
        pytest.fail("nothing was initialised")


def test_an_older_schema_asks_for_init(embedded_settings: Settings) -> None:
    with open_index(embedded_settings) as index, index.engine.begin() as connection:
        connection.execute(text("update neocube.revision set version_num = '0000'"))
    with (
        pytest.raises(IndexUnavailable, match="is at revision 0000, expected 0007: run `neocube init`"),
        open_index(embedded_settings),
    ):
        pytest.fail("the schema is older than the code")


def test_the_wrong_driver_asks_for_init(server_settings: Settings) -> None:
    wrong = server_settings.model_copy(update={"index_driver": "postgis"})
    with (
        pytest.raises(IndexUnavailable, match=r"no table odc\.dataset of the postgis driver: run `neocube init`"),
        open_index(wrong),
    ):
        pytest.fail("the schema is that of the postgres driver")


def test_a_stopped_server_is_one_clear_error_without_its_password(neocube_home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    stopped = server(neocube_home, f"postgresql://odc:s3cret@127.0.0.1:{port}/cube")
    with (
        pytest.raises(IndexUnavailable, match=r"cannot be reached: .*refused.*: start it, or correct") as caught,
        open_index(stopped),
    ):
        pytest.fail("no server listens")
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_password_is_one_clear_error(server_settings: Settings) -> None:
    assert server_settings.index_url is not None
    host = server_settings.index_url.get_secret_value().rpartition("@")[2]
    wrong = server(server_settings.home, f"postgresql://odc:guess@{host}")
    with pytest.raises(IndexUnavailable, match="password authentication failed"), open_index(wrong):
        pytest.fail("the password is wrong")


def test_an_address_that_is_none_is_one_clear_error(neocube_home: Path) -> None:
    wrong = server(neocube_home, "postgresql://odc@host:port/cube")
    with (
        pytest.raises(IndexUnavailable, match="expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE"),
        open_index(wrong),
    ):
        pytest.fail("the port is not a number")


def test_a_shown_url_has_no_password() -> None:
    shown = shown_url("postgresql+psycopg://odc:s3cret@host/cube?password=s3cret&sslmode=require")
    assert shown == "postgresql+psycopg://odc:***@host/cube?sslmode=require"


def test_a_process_keeps_as_many_connections_as_the_setting_says(server_settings: Settings) -> None:
    with open_index(server_settings.model_copy(update={"index_pool_size": 3})) as index:
        assert isinstance(index.engine.pool, QueuePool)
        assert index.engine.pool.size() == 3
        held = [index.engine.connect() for _ in range(6)]
        for connection in held:
            connection.close()
        assert index.engine.pool.checkedin() == 3


def test_the_server_notices_within_minutes_that_a_worker_is_gone(server_settings: Settings) -> None:
    with open_index(server_settings) as index, index.engine.connect() as connection:
        names = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "jit")
        assert [connection.scalar(text(f"show {name}")) for name in names] == ["60", "10", "6", "off"]
        with index.dc.index.datasets._db_connection() as api:
            assert api._connection.scalar(text("show tcp_keepalives_idle")) == "60"
