"""A service that signs users in through the hub with JupyterHub's HubOAuth, and one page for tokens with HubAuth.

Argument: its port. JUPYTERHUB_* name the service and the hub.
"""

import asyncio
import os
import sys

from jupyterhub.services.auth import HubAuth, HubOAuthCallbackHandler, HubOAuthenticated
from tornado.web import Application, RequestHandler, authenticated
from tornado.websocket import WebSocketHandler

PREFIX = os.environ["JUPYTERHUB_SERVICE_PREFIX"]


class Page(HubOAuthenticated, RequestHandler):
    @authenticated
    def get(self):
        self.write({"user": self.current_user, "cookies": sorted(self.request.cookies), "uri": self.request.uri})

    @authenticated
    def post(self):
        self.write({"user": self.current_user["name"]})


class ByToken(RequestHandler):
    async def get(self):
        told = self.request.headers.get("Authorization", "").partition(" ")[2]
        self.write({"user": await HubAuth().user_for_token(told, sync=False) if told else None})


class Open(RequestHandler):
    def get(self):
        self.set_cookie("theirs", "1", path="/")
        self.set_cookie("towpath-session", "stolen", path="/")
        self.write({"headers": dict(self.request.headers)})

    post = get

    def check_xsrf_cookie(self):
        """Allow all requests."""


class Echo(WebSocketHandler):
    def check_origin(self, origin):
        return True

    async def on_message(self, message):
        await self.write_message(message)


async def main():
    handlers = [
        (PREFIX, Page),
        (PREFIX + "oauth_callback", HubOAuthCallbackHandler),
        (PREFIX + "by-token", ByToken),
        (PREFIX + "open", Open),
        (PREFIX + "echo", Echo),
    ]
    Application(handlers, cookie_secret=os.urandom(32)).listen(int(sys.argv[1]), "127.0.0.1")
    await asyncio.Event().wait()


asyncio.run(main())
