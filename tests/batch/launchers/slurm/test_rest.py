"""Requests to slurmrestd and its responses, of both generations; tokens; the connection."""

import base64
import hashlib
import hmac
import http.server
import json
import os
import socket
import ssl
import threading
from pathlib import Path

import pytest

from batch.contract import LauncherError, Resources
from batch.launchers.slurm.client import AccountingDisabledError
from batch.launchers.slurm.clients.rest import RestClient, newest
from batch.launchers.slurm.clients.rest_http import RestHttp, Tokens, create_token
from batch.launchers.slurm.clients.rest_shapes import described, jobs_of, megabytes, minutes, pasts_of
from batch.launchers.slurm.kind import SlurmConfig
from batch.launchers.slurm.script import batch
from tests.batch.launchers.slurm.making import ALICE, job
from tests.conftest import run

NAME = "towpath-" + "a" * 32
ASKED = Resources(partition="gpu", gpu_type="a100", gpus=1, cores=2, memory=2**30, walltime=3601, nodes=2, signal=60)


def client_with(**more):
    return batch(job(**more), ALICE, comment="towpath:1:alice/lab:abc", starter="pass")


# --- shapes


def test_a_job_of_the_first_generation_is_described_as_on_the_command_line():
    told = described(client_with(resources=ASKED), 38)
    assert told["job"]["environment"]["HOME"] == "/home/alice"
    assert told["job"]["gres"] == "gpu:a100:1"
    assert told["job"]["nodes"] == [2, 2]
    assert told["job"]["time_limit"] == 61
    assert "signal" not in told["job"]  # 22.05 can tell it to steps only
    assert told["script"].startswith("#!/bin/bash\n")


@pytest.mark.parametrize(
    ("version", "gres"), [(39, "gres:gpu:a100:1"), (40, "gres/gpu:a100:1"), (44, "gres/gpu:a100:1")]
)
def test_a_job_of_the_second_generation_is_described_as_slurmctld_holds_it(version, gres):
    told = described(client_with(resources=ASKED), version)["job"]
    assert "HOME=/home/alice" in told["environment"]
    assert told["tres_per_node"] == gres
    assert told["nodes"] == "2"
    assert told["kill_on_node_fail"] is False
    assert (told["kill_warning_signal"], told["kill_warning_delay"], told["kill_warning_flags"]) == (
        "USR1",
        60,
        ["BATCH_JOB"],
    )
    assert (told["memory_per_node"], told["cpus_per_task"], told["dependency"]) == (1024, 2, "singleton")


def test_an_option_without_a_property_is_refused():
    for version in (38, 42):
        with pytest.raises(LauncherError, match="--hint"):
            described(client_with(resources=Resources(more=(("hint", "nomultithread"),))), version)


def test_sizes_and_times_are_in_slurms_units():
    assert [megabytes(size) for size in ("512M", "2G", "1T", "100", "1K")] == [512, 2048, 1048576, 100, 1]
    assert [minutes(time) for time in ("0-00:01:00", "0-00:01:01", "1-02:03:04")] == [1, 2, 1564]


OLD = {
    "job_id": 7,
    "user_name": "alice",
    "name": "towpath-x",
    "comment": "c",
    "job_state": "RUNNING",
    "state_reason": "None",
    "partition": "cpu",
    "account": "physics",
    "qos": "normal",
    "priority": 100,
    "submit_time": 10,
    "start_time": 20,
    "end_time": 30,
    "exit_code": 1792,
    "restart_cnt": 1,
    "batch_host": "cn1",
    "tres_alloc_str": "cpu=2,mem=400M,node=2,billing=2",
    "node_count": 2,
    "time_limit": 30,
}


def wrapped(number):
    return {"set": True, "infinite": False, "number": number}


NEW = {
    **OLD,
    "job_state": ["RUNNING"],
    **{name: wrapped(OLD[name]) for name in ("priority", "submit_time", "start_time", "end_time")},
    **{name: wrapped(OLD[name]) for name in ("node_count", "time_limit")},
    "exit_code": {
        "status": ["ERROR"],
        "return_code": wrapped(7),
        "signal": {"id": {"set": False, "infinite": False, "number": 0}, "name": ""},
    },
}


def test_both_generations_tell_the_same_job():
    (old,), (new,) = jobs_of({"jobs": [OLD]}), jobs_of({"jobs": [NEW]})
    assert old == new
    assert (old.id, old.started, old.ends, old.exit_code, old.signal, old.reason) == (7, 20.0, 30.0, 7, 0, "")
    assert (old.memory, old.limit) == (200 << 20, 1800.0)


def test_flags_of_a_state_are_shown_in_its_place():
    (one,) = jobs_of({"jobs": [{**NEW, "job_state": ["RUNNING", "COMPLETING"]}]})
    assert one.state == "COMPLETING"
    (one,) = jobs_of({"jobs": [{**OLD, "job_state": "PENDING"}]})
    assert (one.started, one.expected, one.ends) == (None, 20.0, None)


def test_the_accounting_of_both_generations():
    old = {
        "job_id": 7,
        "user": "alice",
        "name": "n",
        "comment": {"job": "c", "administrator": None, "system": None},
        "state": {"current": "FAILED", "reason": "None"},
        "exit_code": {"status": "ERROR", "return_code": 7},
        "time": {"submission": 10, "start": 20, "end": 30, "elapsed": 10, "limit": 5},
        "nodes": "cn1,cn2",
        "steps": [],
        "tres": {"allocated": [], "requested": []},
    }
    new = {
        **old,
        "state": {"current": ["FAILED"], "reason": "None"},
        "exit_code": {"status": ["ERROR"], "return_code": wrapped(7)},
        "time": {**old["time"], "limit": wrapped(5)},
    }
    for row in (old, new):
        (past,) = pasts_of({"jobs": [row]})
        assert (past.id, past.user, past.comment, past.state, past.node) == (7, "alice", "c", "FAILED", "cn1")
        assert (past.facts.code, past.submitted, past.ended) == (7, 10.0, 30.0)
    (past,) = pasts_of({"jobs": [{**old, "state": {"current": "RUNNING"}}]})
    assert past.facts is None


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([36, 37, 38], 38),
        ([38, 39, 40], 40),
        ([40, 41, 42], 42),
        ([44, 45, 46, 99], 45),
        ([36, 37], 0),
        ([], 0),
    ],
)
def test_the_newest_version_that_both_know_is_spoken(found, expected):
    paths = {
        f"/{service}/v0.0.{version}/jobs{slash}": {}
        for version in found
        for service, slash in (("slurm", "/"), ("slurmdb", ""))
    }
    assert newest(paths) == expected
    assert newest({path: {} for path in paths if not path.startswith("/slurmdb/")}) == 0


# --- tokens


def test_a_token_is_signed_with_the_key_and_ends_soon():
    key = os.urandom(32)
    head, claims, sign = create_token(key, "alice", now=1000, seconds=300).split(".")

    def decode(text):
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

    assert json.loads(decode(head)) == {"alg": "HS256", "typ": "JWT"}
    assert json.loads(decode(claims)) == {"sun": "alice", "iat": 1000, "exp": 1300}
    assert decode(sign) == hmac.digest(key, f"{head}.{claims}".encode(), hashlib.sha256)


def tokens(tmp_path, **files):
    given = {}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        given[name] = str(tmp_path / name)
    return Tokens(SlurmConfig(client="rest", **given))


def test_with_the_key_everybody_has_a_token_of_their_own(tmp_path):
    made = tokens(tmp_path, rest_key_file=b"k" * 32)
    alice, bob = made.headers("alice"), made.headers("bob")
    assert alice["X-SLURM-USER-NAME"] == "alice"
    assert alice["X-SLURM-USER-TOKEN"] != bob["X-SLURM-USER-TOKEN"]
    assert made.headers("alice") == alice  # kept for a while


def test_an_operators_token_goes_with_every_name(tmp_path):
    made = tokens(tmp_path, rest_token_file=b"a.b.c\n")
    assert made.headers("alice") == {"X-SLURM-USER-NAME": "alice", "X-SLURM-USER-TOKEN": "a.b.c"}


def test_a_missing_or_short_key_is_reported(tmp_path):
    with pytest.raises(LauncherError, match="cannot be read"):
        Tokens(SlurmConfig(client="rest", rest_key_file=str(tmp_path / "none")))
    with pytest.raises(LauncherError, match="too short"):
        tokens(tmp_path, rest_key_file=b"short")


# --- the connection


class Restd:
    """An HTTP server with scripted responses."""

    def __init__(self, socket_path=""):
        self.asked, self.answers = [], {}
        restd = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                length = int(self.headers.get("Content-Length") or 0)
                restd.asked.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
                status, text = restd.answers.get(self.path.split("?")[0], (404, b""))
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_POST = do_DELETE = do_GET  # noqa: N815 - as http.server calls them

            def log_message(self, *_):
                pass

            def address_string(self):
                return "unix"

        if socket_path:

            class Server(http.server.ThreadingHTTPServer):
                address_family = socket.AF_UNIX

                def server_bind(self):
                    self.socket.bind(self.server_address)
                    self.server_name, self.server_port = "unix", 0

            self.server = Server(socket_path, Handler)
            self.url = f"unix://{socket_path}"
        else:
            self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()
        self.tell("/openapi/v3", {"paths": {"/slurm/v0.0.38/jobs": {}, "/slurmdb/v0.0.38/jobs": {}}})

    def tell(self, path, answer, status=200):
        self.answers[path] = (status, json.dumps(answer).encode())

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture(params=["tcp", "unix"])
def restd(request, short_folder):
    made = Restd(str(short_folder / f"restd-{os.urandom(3).hex()}") if request.param == "unix" else "")
    yield made
    made.close()


@pytest.fixture
def client(restd, tmp_path):
    (tmp_path / "key").write_bytes(b"k" * 32)
    return RestClient(SlurmConfig(client="rest", rest_url=restd.url, rest_key_file=str(tmp_path / "key"), timeout=5.0))


def test_the_version_is_requested_once_and_each_request_has_its_own_user(restd, client):
    restd.tell("/slurm/v0.0.38/jobs", {"jobs": [OLD], "errors": []})
    restd.tell("/slurm/v0.0.38/job/submit", {"job_id": 9, "errors": []})
    restd.tell("/slurm/v0.0.38/job/9", {"jobs": [{**OLD, "job_id": 9, "name": NAME}], "errors": []})

    async def body():
        assert [one.id for one in await client.jobs()] == [7]
        assert await client.jobs("other") == []
        assert await client.submit(client_with(), ALICE) == 9
        await client.cancel(9, NAME, ALICE)
        await client.close()

    run(body())
    assert [(method, path) for method, path, _, _ in restd.asked] == [
        ("GET", "/openapi/v3"),
        ("GET", "/slurm/v0.0.38/jobs"),
        ("GET", "/slurm/v0.0.38/jobs"),
        ("POST", "/slurm/v0.0.38/job/submit"),
        ("GET", "/slurm/v0.0.38/job/9"),
        ("DELETE", "/slurm/v0.0.38/job/9"),
    ]
    assert [headers["X-SLURM-USER-NAME"] for _, _, headers, _ in restd.asked] == [
        "root",
        "root",
        "root",
        "alice",
        "alice",
        "alice",
    ]
    assert all("k" * 32 not in str(asked) for asked in restd.asked)


def test_an_error_is_judged_by_itself_and_not_by_the_status(restd, client):
    async def body():
        path = "/slurm/v0.0.38/job/submit"
        for status in (200, 500):
            restd.tell(path, {"errors": [{"error_number": 2000, "error": "Invalid partition name specified"}]}, status)
            with pytest.raises(LauncherError) as caught:
                await client.submit(client_with(), ALICE)
            assert (caught.value.field, caught.value.transient) == ("partition", False)
        restd.tell(path, {"errors": [{"error_code": 2015, "error": "not available now"}], "job_id": 4})
        assert await client.submit(client_with(), ALICE) == 4  # it was taken, with a warning
        await client.close()

    run(body())


def speak(restd, version):
    paths = {f"/{service}/v0.0.{version}/jobs": {} for service in ("slurm", "slurmdb")}
    restd.tell("/openapi/v3", {"paths": paths})


def deletes(restd):
    return [(path, json.loads(body or b"null")) for method, path, _, body in restd.asked if method == "DELETE"]


def test_a_job_that_is_not_there_is_no_error_of_a_cancel_nor_of_the_accounting(restd, client):
    async def body():
        gone = {"errors": [{"error_number": 2017, "error": "Invalid job id specified"}], "jobs": []}
        restd.tell("/slurm/v0.0.38/job/9", gone, 500)
        await client.cancel(9, NAME, ALICE)
        nothing = {"errors": [{"error_number": 9003, "error": "Nothing found with query"}], "jobs": []}
        restd.tell("/slurmdb/v0.0.38/job/9", nothing)
        assert await client.past(ids=[9], since=0) == []
        await client.close()

    run(body())
    assert deletes(restd) == []


@pytest.mark.parametrize(
    "other", [{"name": "my-own"}, {"user_name": "bob"}, {"job_id": 8}], ids=["name", "account", "number"]
)
def test_a_job_that_is_another_one_by_now_is_left_alone_by_old_versions(restd, client, other):
    async def body():
        restd.tell("/slurm/v0.0.38/job/9", {"jobs": [{**OLD, "job_id": 9, "name": NAME, **other}], "errors": []})
        await client.cancel(9, NAME, ALICE)
        await client.close()

    run(body())
    assert deletes(restd) == []


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (2172, "Job name my-own != filter name towpath-a: Cannot signal job"),
        (2017, "Invalid job id specified"),
        (2021, "Job/step already completing or completed"),
    ],
)
def test_newer_versions_compare_name_and_account_themselves(restd, client, number, words):
    async def body():
        speak(restd, 42)
        told = {"error": {"code": number, "message": words}, "step_id": "9"}
        restd.tell("/slurm/v0.0.42/jobs/", {"status": [told], "errors": [], "warnings": []})
        await client.cancel(9, NAME, ALICE)
        await client.close()

    run(body())
    assert deletes(restd) == [("/slurm/v0.0.42/jobs/", {"jobs": ["9"], "job_name": NAME, "user_name": "alice"})]


def test_a_cancel_that_newer_versions_refuse_beside_empty_errors_is_refused(restd, client):
    async def body():
        speak(restd, 42)
        told = {"error": {"code": 2002, "message": "Access/permission denied"}, "step_id": "9"}
        restd.tell("/slurm/v0.0.42/jobs/", {"status": [told], "errors": [], "warnings": []})
        with pytest.raises(LauncherError) as caught:
            await client.cancel(9, NAME, ALICE)
        assert caught.value.code == "denied"
        restd.tell("/slurm/v0.0.42/jobs/", {"status": [], "errors": [], "warnings": []})
        await client.cancel(9, NAME, ALICE)
        await client.close()

    run(body())


def test_missing_accounting_and_a_missing_answer_are_distinguished(restd, client):
    async def body():
        restd.tell("/slurmdb/v0.0.38/jobs", {"errors": [{"error": "Slurm accounting storage is disabled"}]}, 500)
        with pytest.raises(AccountingDisabledError):
            await client.past(since=0)
        restd.answers["/slurm/v0.0.38/jobs"] = (502, b"<html>Bad gateway")
        with pytest.raises(LauncherError) as caught:
            await client.jobs()
        assert caught.value.transient
        assert "502" in str(caught.value)
        await client.close()

    run(body())


@pytest.mark.parametrize(
    "spoilt",
    [
        {"name": "b\udcff\udcfed"},
        {"comment": "\udcff"},
        {"priority": float("nan")},
        {"priority": float("inf"), "time_limit": float("nan")},
        {"name": "line\u0001end"},
    ],
)
def test_another_users_job_with_odd_bytes_or_numbers_does_not_stop_the_poll(restd, client, spoilt):
    """As slurmrestd of 22.05, 24.11 and 26.05 writes them: the bytes of the name, and NaN."""

    async def body():
        text = json.dumps({"jobs": [{**OLD, "job_id": 6, **spoilt}, OLD], "errors": []}, ensure_ascii=False)
        restd.answers["/slurm/v0.0.38/jobs"] = (200, text.encode(errors="surrogateescape").replace(b"\\u0001", b"\x01"))
        found = await client.jobs()
        assert [one.id for one in found] == [6, 7]
        assert found[1].name == "towpath-x"
        await client.close()

    run(body())


@pytest.mark.parametrize("spoilt", [{"job_id": None}, {"job_id": "seven"}, {"exit_code": []}, {"job_state": 7}])
def test_a_job_that_cannot_be_read_is_left_out_unless_it_may_be_ours(restd, client, spoilt):
    async def body():
        restd.tell("/slurm/v0.0.38/jobs", {"jobs": [{**OLD, "name": "other", **spoilt}, OLD], "errors": []})
        assert OLD["job_id"] in [one.id for one in await client.jobs()]
        restd.tell("/slurm/v0.0.38/jobs", {"jobs": [{**OLD, "name": NAME, "job_id": None}], "errors": []})
        with pytest.raises(LauncherError, match="cannot be read") as caught:
            await client.jobs()
        assert caught.value.transient
        await client.close()

    run(body())


def test_the_sites_message_about_a_submit_comes_first(restd, client):
    async def body():
        path = "/slurm/v0.0.38/job/submit"
        said = {"job_submit_user_msg": "Please set a time limit."}
        restd.tell(path, {"errors": [{"error_code": -1, "error": "Unspecified error"}], **said})
        with pytest.raises(LauncherError) as caught:
            await client.submit(client_with(), ALICE)
        assert (str(caught.value), caught.value.field) == ("Please set a time limit.", "walltime")
        restd.tell(path, {"errors": [{"error_code": -1, "error": "Unspecified error"}]})  # as all versions do
        with pytest.raises(LauncherError, match="A rule of this cluster refuses the job") as caught:
            await client.submit(client_with(), ALICE)
        assert not caught.value.transient
        restd.tell(path, {"errors": [], "job_id": 9, **said})
        assert await client.submit(client_with(), ALICE) == 9
        await client.close()

    run(body())


def test_a_service_that_is_not_there_or_denies_is_transient(restd, client):
    async def body():
        restd.answers["/openapi/v3"] = (401, b"Authentication failure")
        with pytest.raises(LauncherError, match="rejects the hub's token") as caught:
            await client.jobs()
        assert caught.value.transient
        restd.close()
        restd.thread = threading.Thread(target=lambda: None)
        restd.thread.start()
        with pytest.raises(LauncherError, match="does not answer") as caught:
            await client.jobs()
        assert caught.value.transient
        await client.close()

    run(body())


# --- TLS
PEM = str(Path(__file__).parents[3] / "contracts/loopback.pem")


def test_a_certificate_of_the_sites_own_authority_is_trusted_only_with_rest_ca(tmp_path):
    key = tmp_path / "key"
    key.write_bytes(b"k" * 32)
    restd = Restd()
    restd.answers["/openapi/v3"] = (
        200,
        json.dumps({"paths": {f"/{one}/v0.0.40/jobs": {} for one in ("slurm", "slurmdb")}}).encode(),
    )
    restd.answers["/slurm/v0.0.40/jobs"] = (200, b'{"jobs": [], "errors": []}')
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PEM)
    restd.server.socket = context.wrap_socket(restd.server.socket, server_side=True)
    url = restd.url.replace("http://127.0.0.1", "https://localhost")

    async def jobs(**more):
        client = RestClient(SlurmConfig(client="rest", rest_url=url, rest_key_file=str(key), timeout=10, **more))
        try:
            return await client.jobs()
        finally:
            await client.close()

    try:
        assert run(jobs(rest_ca=PEM)) == []
        with pytest.raises(LauncherError, match="does not answer"):
            run(jobs())
    finally:
        restd.close()


def test_a_rest_ca_without_a_certificate_is_a_fault_of_the_configuration(tmp_path):
    for path in (tmp_path / "none", tmp_path / "empty"):
        (tmp_path / "empty").write_bytes(b"")
        with pytest.raises(LauncherError, match="cannot be used as rest_ca") as caught:
            RestHttp("https://localhost:1", seconds=1, ca=str(path))
        assert (caught.value.code, caught.value.transient) == ("config", False)
