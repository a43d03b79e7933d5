"""`read`: a handler for GET and HEAD (RFC 9110 section 9.1), because Litestar's `get` does not answer HEAD.

Owns this decorator. Does not know handlers.
"""

from collections.abc import Sequence
from typing import Any

from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler


def read(path: str | Sequence[str], **options: Any) -> HTTPRouteHandler:
    """As Litestar's `get`, and for HEAD: the same headers, no body."""
    return HTTPRouteHandler(path, http_method=[HttpMethod.GET, HttpMethod.HEAD], status_code=200, **options)
