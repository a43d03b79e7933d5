"""The app's command, its environment, and the endpoint that follows from them. Pure."""

from batch.starter.json_text import percent_encoded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping, Sequence

SETUP_FAILURE = "TOWPATH_SETUP_FAILURE"  # why the job's script could not make the app available, in a sentence


def settle(spec: "dict[str, Any]", own: "Mapping[str, str]") -> "dict[str, Any]":
    """Fill in what only the node knows: the home of the job's user, and the environment that the job's setup has made.

    `inherit`: the app gets `own`, the starter's environment, with the specification's on top. `~/` at the start of the
    two folders and `{home}` in command and environment mean the home.
    """
    if spec.get("inherit"):
        environment = {name: value for name, value in own.items() if name != SETUP_FAILURE}
        home = environment.get("HOME") or "/"
        for name in ("folder", "directory"):
            if spec[name][:2] == "~/":
                spec[name] = home.rstrip("/") + "/" + spec[name][2:]
        spec["command"] = [part.replace("{home}", home) for part in spec["command"]]
        for name, value in spec["environment"].items():
            environment[name] = value.replace("{home}", home)
        spec["environment"] = environment
    return spec


def wants_socket(command: "Sequence[str]") -> bool:
    """Return whether the app listens on a unix socket, and not on a port."""
    return any("{socket}" in part for part in command)


def fill_in(command: "Sequence[str]", path: str, port: int) -> "list[str]":
    """Return the command with its socket's path or its port."""
    return [part.replace("{socket}", path).replace("{port}", str(port)) for part in command]


def environment_for(spec: "dict[str, Any]", endpoint: "dict[str, Any]") -> "dict[str, str]":
    """Return the app's environment: the specification's, and where the app must listen (`endpoint`)."""
    environment = dict(spec["environment"])
    environment["TOWPATH_ATTEMPT"] = spec["attempt"]
    if endpoint["kind"] == "unix":
        environment["TOWPATH_SOCKET"] = endpoint["path"]
        place = "http+unix://" + percent_encoded(endpoint["path"])
    else:
        environment["TOWPATH_PORT"] = str(endpoint["port"])
        place = "http://127.0.0.1:%d" % endpoint["port"]
    if "JUPYTERHUB_SERVICE_URL" in environment:  # where an app made for JupyterHub listens
        environment["JUPYTERHUB_SERVICE_URL"] = place + spec["base_path"]
    return environment
