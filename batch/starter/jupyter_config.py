"""A configuration file for stock Jupyter servers, which makes the hub a part of them.

It is read by every Jupyter Server 2 that has the folder in JUPYTER_CONFIG_PATH, whatever command starts it: JupyterLab
and Notebook then show the hub's entry and know who is there, and *Log Out* signs out of the hub.
"""

import os

from batch.starter.json_text import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from batch.starter.job_folder import JobFolder

NAME = "jupyter_server_config.py"
TEXT = """\
# Written by Towpath for one start of one server.
import json
import os

HUB = json.loads(%s)
PATH = "JUPYTER_CONFIG_PATH"  # not for programs that are started from kernels and terminals
folders = [one for one in os.environ.get(PATH, "").split(os.pathsep) if one and one != os.path.dirname(__file__)]
os.environ.pop(PATH, None)
if folders:
    os.environ[PATH] = os.pathsep.join(folders)

c = get_config()
settings = {"hub_prefix": HUB["prefix"], "hub_host": HUB["host"], "user": HUB["user"]}
settings["page_config_data"] = {"hubServerName": HUB["server"]}
c.ServerApp.tornado_settings.update(settings)
c.ServerApp.quit_button = False  # the hub's entries replace "Shut Down" and JupyterLab's second "Log Out"

try:
    from jupyter_server.auth.identity import PasswordIdentityProvider, User
    from jupyter_server.auth.logout import LogoutHandler
except ImportError:  # Jupyter Server 1
    pass
else:

    class HubLogoutHandler(LogoutHandler):
        def get(self):
            self.identity_provider.clear_login_cookie(self)
            self.redirect(HUB["host"] + HUB["prefix"] + "logout")

    class HubIdentityProvider(PasswordIdentityProvider):
        async def get_user_token(self, handler):
            # The gateway sets the token and the name, and drops such headers of clients.
            user = await super().get_user_token(handler)
            name = handler.request.headers.get("X-Forwarded-User", "")
            if user is None or not name:
                return user
            return User(name, name, name, name[:2].upper(), None, user.color)

    c.ServerApp.identity_provider_class = HubIdentityProvider
    c.HubIdentityProvider.logout_handler_class = HubLogoutHandler
"""


def write(folder: "JobFolder", environment: "dict[str, str]", hub: "dict[str, Any]") -> None:
    """Write the file and name its folder in the environment. Without room for it, Jupyter runs as it is."""
    if folder.write(NAME, TEXT % repr(dumps(hub))):
        configured = environment.get("JUPYTER_CONFIG_PATH", "")  # of higher priority, where a site has one
        environment["JUPYTER_CONFIG_PATH"] = os.pathsep.join(one for one in (configured, folder.path) if one)
