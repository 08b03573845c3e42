"""What tests of deployments share: a PostgreSQL with the roles of deployments/postgres and an initialised index."""

from collections.abc import Callable

import pytest

from datacube_config.settings import Settings
from flows.steps.index.index_setup import PRODUCT_DEFINITIONS, init_index
from tests.bench.debian_server import missing
from tests.deployments.roles_server import PASSWORDS, as_url, psql


@pytest.fixture(scope="session")
def server(new_database: Callable[[str], str]) -> str:
    """The URL of a superuser of a server with the roles, whose database neocube was initialised by its owner; passwords are names of roles."""
    if reason := missing():
        pytest.skip(reason)
    superuser = new_database("template1")
    for _ in range(2):
        psql("roles.sql", superuser, **PASSWORDS)
    owner = as_url(superuser, "neocube")
    settings = Settings.model_validate({"index_url": owner, "index_driver": "postgis"})
    for _ in range(2):
        init_index(settings, PRODUCT_DEFINITIONS)
        psql("grants.sql", owner)
    return superuser
