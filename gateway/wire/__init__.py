"""HTTP/1.1 towards the client: the worker's own server, as asyncio protocols on uvloop.

Owns: the listening socket, request heads and bodies, the order of answers on a connection, limits and time-outs.
Refuses to know who may do what, pages, and apps: a `Handler` is given each `Request` and answers it.

Why it is not left to Granian: docs/decisions/0006.
"""

from gateway.wire.request import Handler, Request
from gateway.wire.server import Limits, Server

__all__ = ["Handler", "Limits", "Request", "Server"]
