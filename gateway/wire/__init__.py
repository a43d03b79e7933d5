"""HTTP/1.1 towards clients: the worker's own server, as asyncio protocols on uvloop.

Owns the listening socket, request heads and bodies, the order of responses on a connection, and its limits. It knows
nothing of users, pages and apps: a `Handler` receives each `Request` and answers it.

Why Granian does not do this: docs/decisions/0006.
"""

from gateway.wire.limits import ConnectionLimits
from gateway.wire.request import Handler, Request
from gateway.wire.server import Server

__all__ = ["ConnectionLimits", "Handler", "Request", "Server"]
