"""Run by JupyterHub's Python: print the environment from `Spawner.get_env`, with all settings that add variables.

Argument: the working folder. Output after ENVIRONMENT: JSON, server name to environment; `kept` is inherited from the hub.
"""

import asyncio
import json
import os
import sys

from jupyterhub import orm
from jupyterhub.app import JupyterHub
from jupyterhub.objects import Server
from jupyterhub.spawner import Spawner
from jupyterhub.utils import url_escape_path, url_path_join
from traitlets.config import Config


async def main():
    config = Config()
    config.JupyterHub.db_url = "sqlite://"
    config.JupyterHub.authenticator_class = "dummy"
    config.JupyterHub.base_url = "/jupyter/"
    config.JupyterHub.public_url = "https://hub.example.org"
    config.JupyterHub.hub_bind_url = "http://127.0.0.1:8000"
    config.Authenticator.allowed_users = {"a@b.org"}
    app = JupyterHub(config=config, log_level=50)
    await app.initialize([])
    user = app.users["a@b.org"]
    found = {"kept": app.spawner_class.class_traits()["env_keep"].default()}
    for name in ("", "lab"):
        server = orm.Server(base_url=url_path_join(user.base_url, url_escape_path(name), "/"))
        app.db.add(server)
        app.db.commit()
        spawner = user.get_or_create_spawner(name, "")
        spawner.server = Server(orm_server=server)
        spawner.api_token = "api-token"
        spawner.port = 1234
        spawner.mem_limit = spawner.mem_guarantee = "2G"
        spawner.cpu_limit = spawner.cpu_guarantee = 4
        spawner.cookie_options = {"samesite": "Strict"}
        spawner.cert_paths = {"keyfile": "key", "certfile": "cert", "cafile": "ca"}
        spawner.notebook_dir = "~/work"
        spawner.default_url = "/lab"
        spawner.debug = spawner.disable_user_config = spawner.admin_access = True
        found[name] = Spawner.get_env(spawner)
    print("ENVIRONMENT " + json.dumps(found))


os.chdir(sys.argv[1])
asyncio.run(main())
