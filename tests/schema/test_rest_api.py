"""The REST API, compared with two descriptions: JupyterHub's own rest-api.yml, and Towpath's OpenAPI document.

schemathesis generates valid and invalid requests from them, and a real hub answers. No response is a 5xx, and every
status and body is described. Known differences are listed in `docs/jupyterhub.md`, and here as AMENDED.
"""

import copy
import json

import httpx
import pytest
import schemathesis
import yaml
from hub import ROOT, Hub
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.echo_hub import ECHO, LOCAL

JUPYTERHUBS = ROOT / ".cache/jupyterhub-rest-api.yml"
SECRET = "0123456789abcdef0123456789abcdef"
EXAMPLES = 12
"""Requests per operation and mode. All of them take about a minute on an idle machine."""
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
CONFIG = f"""
[gateway]
share_on_one_host = true

[auth]
admins = ["carol"]
allowed_users = ["ann", "bob"]

[[auth.provider]]
name = "test"
kind = "test"

[[service]]
name = "tester"
admin = true
api_token_file = "tester.token"
{LOCAL}{ECHO}
"""
PLACES = {
    "userName": ["ann", "bob", "new"],
    "groupName": ["bio", "new"],
    "serverName": ["lab2", "other"],
    "sharedServerOwner": ["ann"],
    "sharedServerName": ["lab2", "none"],
}
"""The values of path parameters, so that most requests find something."""
LEFT_OUT = {
    ("POST", "/shutdown"): "it would stop the hub (tests/portal/test_api_hub.py)",
    ("GET", "/oauth2/authorize"): "a page for browsers that redirects to the sign-in",
    ("POST", "/users/{name}/server"): "it starts processes (tests/portal/test_api_servers.py)",
    ("POST", "/users/{name}/servers/{server_name}"): "it starts processes",
    ("POST", "/towpath/report"): "for jobs, with their own tokens (tests/portal/test_reports.py)",
}
NULLABLE = {
    "User": ("server", "pending", "last_activity", "auth_state"),
    "Server": ("pending", "started", "last_activity"),
    "Token": ("expires_at", "last_activity"),
    "NewToken": ("expires_at", "last_activity"),
}
"""Fields that can be null in JupyterHub's responses, although its description does not say so."""


def refusal(**fields):
    """Return the description of an error response."""
    schema = {"type": "object", "required": list(fields), "properties": fields}
    return {"description": "Refused", "content": {"application/json": {"schema": schema}}}


ERROR = refusal(status={"type": "integer"}, message={"type": "string", "minLength": 1})
OAUTHS = refusal(error={"type": "string", "minLength": 1})
"""RFC 6749 section 5.2."""
METHODS = {"head", "get", "put", "post", "patch", "delete"}


def jupyterhubs():
    """Return JupyterHub's description as JSON would have it (YAML reads some examples as times)."""
    return json.loads(json.dumps(yaml.safe_load(JUPYTERHUBS.read_text()), default=str))


def amended(described):
    """Return JupyterHub's description with what it leaves out: errors, nulls, and the form of /services."""
    found = copy.deepcopy(described)
    for name, values in PLACES.items():
        found["components"]["parameters"][name]["schema"] = {"type": "string", "enum": values}
    for name, fields in NULLABLE.items():
        for field in fields:
            schema = found["components"]["schemas"][name]["properties"][field]
            schema["type"] = [schema["type"], "null"]
            if "enum" in schema:
                schema["enum"] = [*schema["enum"], None]
    services = found["paths"]["/services"]["get"]["responses"]["200"]["content"]["application/json"]
    services["schema"] = {"type": "object", "additionalProperties": services["schema"]["items"]}
    return with_errors(found)


def with_errors(found):
    """Add error responses to every operation."""
    for path, item in found["paths"].items():
        for method in METHODS & set(item):
            operation = item[method]
            operation["responses"] = {
                str(status): answer
                for status, answer in operation["responses"].items()
                if not str(status).startswith("4")
            } | {"4XX": OAUTHS if path == "/oauth2/token" else ERROR}
    return found


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("schema")
    holder = folder / "tester.token"
    holder.write_text(SECRET)
    holder.chmod(0o600)
    hub = Hub(folder, config=CONFIG).start()
    try:
        yield prepared(hub)
    finally:
        hub.client.close()
        hub.close()


def prepared(hub):
    """A hub, and a client with all rights."""
    hub.client = httpx.Client(base_url=f"{hub.origin}/hub/api", headers={"Authorization": f"token {SECRET}"})
    return hub


def restore(hub):
    """Restore what requests use, as far as earlier ones have removed it."""
    for method, path, body in (
        ("POST", "/users", {"usernames": ["ann", "bob"]}),
        ("POST", "/groups/bio", {"users": ["ann"]}),
        ("PUT", "/users/ann/servers/lab2", {}),
        ("PUT", "/users/bob/servers/lab2", {}),
        ("POST", "/shares/ann/lab2", {"user": "bob"}),
        ("POST", "/shares/ann/lab2", {"group": "bio"}),
        ("DELETE", "/users/ann/servers/other", {"remove": True}),
        ("DELETE", "/groups/new", None),
        ("DELETE", "/users/new", None),
    ):
        answer = hub.client.request(method, path, json=body)
        assert answer.status_code in {200, 201, 204, 404, 409}, answer.text


def try_all(hub, described, base, wanted):
    """Make requests for every operation of a description. Return messages on what went wrong."""
    schema = schemathesis.openapi.from_dict(described)
    seen, wrong, done = set(), [], set()
    for result in schema.get_all_operations():
        operation = result.ok()
        key = (operation.method.upper(), operation.path)
        if key in LEFT_OUT or not wanted(key):
            continue
        seen.add(key)
        restore(hub)
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            fault = first_fault(hub, operation, base, mode, done)
            if fault:
                wrong.append(fault)
    return seen, wrong, done


def first_fault(hub, operation, base, mode, done):
    """Return the first response that is not described, or None. Successful operations are added to `done`."""
    found = []

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def attempt(case):
        if found:
            return
        answer = case.call(base_url=f"{hub.origin}{base}", headers={"Authorization": f"token {SECRET}"})
        if answer.status_code < 300:
            done.add((operation.method.upper(), operation.path))
        try:
            case.validate_response(answer, checks=CHECKS)
        except schemathesis.errors.SchemathesisError as error:
            found.append(f"{operation.label} ({mode.value}): {error}")
        except AssertionError as error:
            found.append(f"{operation.label} ({mode.value}): {error}")
        except BaseExceptionGroup as error:
            told = "; ".join(str(one) for one in error.exceptions)
            found.append(f"{operation.label} ({mode.value}): {answer.status_code} {told}")

    try:
        attempt()
    except Exception as error:
        if "Unsatisfiable" not in type(error).__name__ and "SkipTest" not in type(error).__name__:
            raise
    return found[0] if found else None


@pytest.mark.timeout(600)
def test_every_request_from_jupyterhubs_description_is_answered_as_described(hub):
    described = amended(jupyterhubs())
    seen, wrong, done = try_all(hub, described, "/hub/api", lambda key: True)
    assert not wrong, "\n\n".join(wrong)
    everything = {(method.upper(), path) for path, item in described["paths"].items() for method in METHODS & set(item)}
    assert seen == everything - set(LEFT_OUT)
    assert len(done) > len(seen) * 0.7  # generated values are not always an existing name, scope or id


@pytest.mark.timeout(300)
def test_every_request_from_towpaths_description_is_answered_as_described(hub):
    described = with_errors(json.loads(hub.client.get("/towpath/openapi.json").text))
    seen, wrong, _ = try_all(hub, described, "", lambda key: "/towpath/" in key[1])
    assert not wrong, "\n\n".join(wrong)
    assert len(seen) >= 5


def test_the_description_is_of_the_jupyterhub_version_that_the_hub_reports(hub):
    assert hub.client.get("/").json()["version"] == jupyterhubs()["info"]["version"]
