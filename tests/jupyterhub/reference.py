"""The configuration of the real JupyterHub for comparison: without a proxy, with servers inside the hub's process.

Read by JupyterHub, which defines `get_config`. Values that differ between runs are JSON in REFERENCE.
"""

import json
import os

from jupyterhub.proxy import Proxy
from jupyterhub.spawner import Spawner
from tornado import httpserver, netutil, web

GIVEN = json.loads(os.environ["REFERENCE"])
"""`port`, `services` (names), `roles` (as JupyterHub takes them)."""


class NoProxy(Proxy):
    """A proxy whose routes are only a dictionary: requests go to the hub itself."""

    should_start = False

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.routes = {}

    async def add_route(self, routespec, target, data):
        self.routes[routespec] = {"routespec": routespec, "target": target, "data": data}

    async def delete_route(self, routespec):
        self.routes.pop(routespec, None)

    async def get_all_routes(self):
        return dict(self.routes)


class Fine(web.RequestHandler):
    """The only page of a server."""

    def get(self):
        self.write("fine")


class InHub(Spawner):
    """A server that listens in the hub's process."""

    listener = None

    async def start(self):
        self.listener = httpserver.HTTPServer(web.Application([(".*", Fine)]))
        sockets = netutil.bind_sockets(0, "127.0.0.1")
        self.listener.add_sockets(sockets)
        return "127.0.0.1", sockets[0].getsockname()[1]

    async def stop(self, now=False):
        if self.listener is not None:
            self.listener.stop()
            self.listener = None

    async def poll(self):
        return None if self.listener is not None else 0


c = get_config()  # type: ignore[name-defined]  # noqa: F821
c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.spawner_class = InHub
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.bind_url = c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{GIVEN['port']}/"
c.JupyterHub.db_url = "sqlite://"
c.JupyterHub.allow_named_servers = True
c.JupyterHub.services = [{"name": name, "api_token": name * 8, "admin": name == "root1"} for name in GIVEN["services"]]
c.JupyterHub.load_roles = GIVEN["roles"]
