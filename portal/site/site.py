"""What all handlers of the portal share: services, URLs and templates.

Owns how pages are rendered and URLs are built. Does not know the content of pages.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from portal.site import times
from portal.site.late_catalogs import LateCatalogs
from portal.site.oauth import Provider
from portal.site.sign_in import Auth
from portal.site.static_files import Statics
from state.config.one_host import may_share
from state.config.origins import Origins
from state.config.tables import Config, GatewayConfig
from state.mirror.health import HealthWatch
from state.mirror.mirror import Mirror
from state.names import escape, server_path
from state.rights.roles import Roles
from state.settings.files import logos
from state.store.all import Store

JUPYTERHUB_VERSION: Final = "6.1.1"
"""The version of JupyterHub's API that the hub implements, which clients compare."""

PAGE_VALUES: Final = "page_values"
"""The key in a request's state with values for every page, which are set before its handler runs."""

TEMPLATES: Final = Path(__file__).parents[1] / "templates"

PAGE_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
    "X-JupyterHub-Version": JUPYTERHUB_VERSION,
}
"""The headers of every page. No page contains inline scripts or styles."""


def page_headers(config: GatewayConfig) -> dict[str, str]:
    """Return the headers of a page with forms.

    Chromium applies `form-action` to all redirects after a form: a sign-in may redirect to the origin of a user's
    servers.
    """
    if not config.user_domain:
        return PAGE_HEADERS
    policy = PAGE_HEADERS["Content-Security-Policy"]
    allowed = policy.replace("form-action 'self'", f"form-action 'self' {Origins(config).every}")
    return {**PAGE_HEADERS, "Content-Security-Policy": allowed}


@dataclass(frozen=True)
class Services:
    """What the portal needs: configuration, store, clock and sign-in.

    `data_dir`: contains the folders of jobs on this machine. `shut_down`: ends the hub's processes on this machine.
    """

    config: Config
    store: Store
    mirror: Mirror
    clock: Callable[[], float]
    version: str
    auth: Auth
    oauth: Provider
    data_dir: Path
    shut_down: Callable[[], None]
    health: HealthWatch


class Look:
    """URLs and templates, which need no store. Error pages need only this."""

    def __init__(self, config: Config, version: str, clock: Callable[[], float]) -> None:
        self.base = config.gateway.base_path
        self.hub = f"{self.base}hub/"
        self.public_url = config.gateway.public_url.rstrip("/").removesuffix(self.base.rstrip("/"))
        self._origins = {
            urlsplit(url).netloc.lower(): f"{urlsplit(url).scheme}://{urlsplit(url).netloc}"
            for url in (config.gateway.internal_url, config.gateway.public_url)
            if url
        }
        self.version = version
        self.page_headers = page_headers(config.gateway)
        self.clock = clock
        self.statics = Statics(f"{self.hub}static/", more=logos(config))
        self._templates = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals.update(
            base=self.base,
            hub=self.hub,
            version=version,
            static=self.statics.url,
            at=self.at,
            server_path=self.server,
            sharing=may_share(config),
        )
        self._templates.filters.update(
            ago=lambda seconds: times.ago(seconds, clock()),
            absolute=times.absolute,
            recent=lambda seconds: times.recent(seconds, clock()),
            iso=times.iso,
            clock=times.clock,
            until=lambda seconds: times.until(seconds, clock()),
            short=lambda seconds: times.short(seconds, clock()),
            ordinal=times.ordinal,
        )

    def at(self, *segments: str, **query: str) -> str:
        """Return a URL under /hub/, with escaped segments (empty ones at the end are omitted) and the query."""
        path = self.hub + "/".join(escape(segment) for segment in segments).rstrip("/")
        parameters = {key: value for key, value in query.items() if value}
        return f"{path}?{urlencode(parameters, quote_via=quote, safe='/')}" if parameters else path

    def origin(self, host: str) -> str:
        """Return the origin under which the client of this Host header reached the hub."""
        return self._origins.get(host.lower()) or self.public_url or f"http://{host}"

    def server(self, user: str, name: str) -> str:
        """Return the path of a server, with a slash at the end."""
        return server_path(self.base, user, name)

    def compile_templates(self) -> None:
        """Compile all templates, so that no first page is up to 70 ms slower. Call it in another thread."""
        for name in self._templates.list_templates(extensions=["html"]):
            self._templates.get_template(name)

    def render(self, template: str, **values: Any) -> bytes:
        """Render a page. All values are escaped: the templates never use `safe`."""
        return self._templates.get_template(template).render(**values).encode()


class Site(Look):
    """The services, URLs and templates of the portal."""

    def __init__(self, services: Services) -> None:
        super().__init__(services.config, services.version, services.clock)
        self.services = services
        self.config = services.config
        self.roles = Roles.of(services.config)
        self.store = services.store
        self.mirror = services.mirror
        self.auth = services.auth
        self.oauth = services.oauth
        self.data_dir = services.data_dir
        self.health = services.health
        self.late_catalogs = LateCatalogs(services.clock)

    def render(self, template: str, **values: Any) -> bytes:
        """Render a page. Admins see the hub's problems on every page; users who wait because of one are told so."""
        problems = {"hub_problems": self.health.problems, "starts_wait": self.health.starts_wait}
        return super().render(template, **problems, **values)
