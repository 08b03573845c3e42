"""JupyterHub with neocube in it: a notebook server for each system user, with the read-only index and the store of the hub's environment."""

import os
from typing import Any

c: Any = get_config()  # noqa: F821, JupyterHub gives it to the file

c.JupyterHub.bind_url = "http://0.0.0.0:8000"
c.JupyterHub.db_url = "sqlite:////var/cache/neocube/jupyterhub.sqlite"
c.JupyterHub.cookie_secret_file = "/var/cache/neocube/jupyterhub.cookie"
c.JupyterHub.cleanup_servers = True
c.Authenticator.allow_all = True  # the users of the container are those of hub-users
c.PAMAuthenticator.open_sessions = False
c.Spawner.default_url = "/lab"
c.Spawner.http_timeout = 120
c.Spawner.environment = {
    **{name: value for name, value in os.environ.items() if name.startswith("NEOCUBE_") and name != "NEOCUBE_HOME"},
    "NEOCUBE_HOME": lambda spawner: f"/home/{spawner.user.name}/neocube",
    "NUMBA_CACHE_DIR": lambda spawner: f"/home/{spawner.user.name}/.cache/numba",
}
