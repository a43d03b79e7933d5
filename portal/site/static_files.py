"""The static files: read once, addressed by their content, kept by browsers for a year.

Owns: portal/static, a site's own pictures, and the URLs into them. Refuses to know who asks: they hold no secret.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

FOLDER: Final = Path(__file__).parents[1] / "static"
TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
PICTURE_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
"""For a picture that is opened by itself: an SVG may hold scripts, and they do not run."""
FOREVER: Final = "public, max-age=31536000, immutable"


class File(NamedTuple):
    """One file as it is sent."""

    body: bytes
    media_type: str


class Statics:
    """All of portal/static in memory. A changed file has another URL, so that no browser keeps an old one."""

    def __init__(self, prefix: str, folder: Path = FOLDER, more: Mapping[str, Path] | None = None) -> None:
        """`prefix`: the path under which they are served, with a slash at the end. `more`: further ones, by name."""
        self._files: dict[str, File] = {}
        self._urls: dict[str, str] = {}
        own = {path.name: path for path in sorted(folder.iterdir()) if path.suffix in TYPES}
        for name, path in {**own, **(more or {})}.items():
            body = path.read_bytes()
            key = f"{hashlib.sha256(body).hexdigest()[:12]}/{name}"
            self._files[key] = File(body, TYPES[Path(name).suffix])
            self._urls[name] = prefix + key

    def url(self, name: str) -> str:
        """The URL of a file by its name. Raises KeyError for a name that is not there."""
        return self._urls[name]

    def find(self, digest: str, name: str) -> File | None:
        """The file at an URL's two segments, or None."""
        return self._files.get(f"{digest}/{name}")
