"""Static files: read once, addressed by a digest of their content, cached by browsers for a year.

Owns portal/static, a site's own pictures, and their URLs. Needs no permission: the files contain no secret.
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
"""The policy of a picture that is opened directly: scripts in an SVG must not run."""
FOREVER: Final = "public, max-age=31536000, immutable"


class File(NamedTuple):
    """A static file."""

    body: bytes
    media_type: str


class Statics:
    """All files of portal/static, in memory. A changed file gets a new URL, so that browsers do not use an old copy."""

    def __init__(self, prefix: str, folder: Path = FOLDER, more: Mapping[str, Path] | None = None) -> None:
        """`prefix`: the path under which they are served, with a slash at the end.

        `more`: additional files, by name.
        """
        self._files: dict[str, File] = {}
        self._urls: dict[str, str] = {}
        own = {path.name: path for path in sorted(folder.iterdir()) if path.suffix in TYPES}
        for name, path in {**own, **(more or {})}.items():
            body = path.read_bytes()
            key = f"{hashlib.sha256(body).hexdigest()[:12]}/{name}"
            self._files[key] = File(body, TYPES[Path(name).suffix])
            self._urls[name] = prefix + key

    def url(self, name: str) -> str:
        """Return the URL of a file. Raises KeyError for an unknown name."""
        return self._urls[name]

    def find(self, digest: str, name: str) -> File | None:
        """Return the file at a URL's two segments, or None."""
        return self._files.get(f"{digest}/{name}")
