"""`read`: a handler of GET that answers HEAD too (RFC 9110 section 9.1), which Litestar's `get` does not.

Owns: this one decorator. Refuses to know handlers.
"""

from collections.abc import Sequence
from typing import Any

from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler


def read(path: str | Sequence[str], **options: Any) -> HTTPRouteHandler:
    """As Litestar's `get`, for HEAD also: the same headers, no body."""
    return HTTPRouteHandler(path, http_method=[HttpMethod.GET, HttpMethod.HEAD], status_code=200, **options)
