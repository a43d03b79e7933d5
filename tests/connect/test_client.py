"""The client: what it writes, and what it says to wrong input."""

import re
import stat
import subprocess
import sys

import pytest

from portal.client import towpath_connect as client
from tests.connect.connect_hub import CLIENT

BEFORE = "# mine\nCompression yes\n\nHost other\n    User me\n"


@pytest.fixture
def sign_in(monkeypatch, tmp_path):
    monkeypatch.setenv("TOWPATH_CONNECT_DIR", str(tmp_path / "sign-ins"))
    sign_in = client.Login("towpath", {"url": "https://hub.example.org/", "user": "alice", "token": "secret"})
    sign_in.save()
    return sign_in


def value_of(config, host, key):
    """Return what OpenSSH itself reads for a host."""
    read = subprocess.run(["ssh", "-G", "-F", str(config), host], capture_output=True, text=True, check=True).stdout
    return next(line.partition(" ")[2] for line in read.splitlines() if line.startswith(f"{key} "))


def test_a_sign_in_is_in_a_private_file(sign_in):
    path = client.home() / "towpath.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert client.Login.load("towpath").token == "secret"


def test_the_block_is_written_once_and_removed_whole(sign_in, tmp_path):
    config = tmp_path / "config"
    config.write_text(BEFORE)
    config.chmod(0o644)
    text = client.block(sign_in, {"": "alice", "gpu": "root"})
    for _ in range(2):
        client.change_config(config, "towpath", text)
        assert config.read_text().endswith(BEFORE)
        assert config.read_text().count("Host towpath-gpu\n") == 1
        assert stat.S_IMODE(config.stat().st_mode) == 0o644
    client.change_config(config, "towpath", "")
    assert config.read_text() == BEFORE


def test_openssh_reads_the_block_and_the_rest_means_the_same_as_before(sign_in, tmp_path):
    config = tmp_path / "config"
    config.write_text(BEFORE)
    client.change_config(config, "towpath", client.block(sign_in, {"": "alice", "gpu": "root"}))
    config.chmod(0o600)
    assert value_of(config, "towpath", "user") == "alice"
    assert value_of(config, "towpath-gpu", "user") == "root"
    assert value_of(config, "towpath-gpu", "proxycommand").endswith(f"{CLIENT} proxy towpath-gpu --account root")
    assert value_of(config, "towpath", "stricthostkeychecking") == "true"
    assert value_of(config, "towpath", "identityfile").endswith("/towpath/keys/towpath")
    assert value_of(config, "elsewhere", "compression") == "yes"
    assert value_of(config, "other", "user") == "me"


def test_a_link_stays_a_link_and_a_new_file_is_private(sign_in, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real")
    client.change_config(tmp_path / "link", "towpath", client.block(sign_in, {"": "alice"}))
    assert (tmp_path / "link").is_symlink()
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o600


def test_a_damaged_block_is_left_alone(sign_in, tmp_path):
    config = tmp_path / "config"
    for text in (
        "# >>> towpath-connect towpath >>>\n",
        "# <<< towpath-connect towpath <<<\n# >>> towpath-connect towpath >>>\n",
    ):
        config.write_text(text)
        with pytest.raises(client.ConnectError, match="damaged") as error:
            client.change_config(config, "towpath", "x\n")
        assert error.value.code == 2
        assert config.read_text() == text


def test_the_host_key_of_a_new_job_replaces_the_earlier_one(sign_in):
    client.know_host(sign_in, "towpath-GPU", "ssh-ed25519 AAAA")
    client.know_host(sign_in, "towpath", "ssh-ed25519 BBBB")
    client.know_host(sign_in, "towpath-GPU", "ssh-ed25519 CCCC")
    lines = (sign_in.folder / "known_hosts").read_text().splitlines()
    assert lines == ["towpath ssh-ed25519 BBBB", "towpath-gpu ssh-ed25519 CCCC"]
    for key in ("", "ssh-ed25519 AAAA\n* ssh-ed25519 DDDD", "@cert-authority * ssh-ed25519 AAAA"):
        with pytest.raises(client.ConnectError, match="host key"):
            client.know_host(sign_in, "towpath", key)


def test_a_key_is_made_once_for_each_server(sign_in):
    one = client.public_key(sign_in, "towpath")
    assert re.fullmatch(r"ssh-ed25519 \S+", one)
    assert client.public_key(sign_in, "towpath") == one
    assert client.public_key(sign_in, "towpath-gpu") != one
    assert stat.S_IMODE(client.key_of(sign_in, "towpath").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("typed", "url"),
    [
        ("https://hub.example.org", "https://hub.example.org/"),
        ("hub.example.org:8443/base/", "https://hub.example.org:8443/base/"),
        ("https://hub.example.org/base/hub/home", "https://hub.example.org/base/"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/"),
    ],
)
def test_the_address_of_a_hub(typed, url):
    assert client.hub_url(typed) == url


@pytest.mark.parametrize("typed", ["http://hub.example.org", "ftp://hub", "https://me:pw@hub", "", "https://"])
def test_other_texts_are_no_address_of_a_hub(typed):
    with pytest.raises(client.ConnectError) as error:
        client.hub_url(typed)
    assert error.value.code == 2


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["proxy", "towpath"], 1, "You are not signed in. Run: towpath-connect login URL"),
        (["proxy", "tow path"], 2, "is not a host of towpath-connect"),
        (["config", "--name", "other"], 1, "towpath-connect login URL --name other"),
        (["login", "http://hub.example.org"], 2, "Use the https address"),
        (["login", "http://127.0.0.1:9"], 1, "cannot be reached"),
        (["login", "http://127.0.0.1:9", "--name", "Bad-Name"], 2, "A name consists of"),
        (["login", "https://127.0.0.1:9", "--ca-file", "/no/such"], 2, "cannot be used"),
        (["nonsense"], 2, "invalid choice"),
    ],
)
def test_errors_are_sentences_without_a_traceback(words, code, said, monkeypatch, tmp_path):
    monkeypatch.setenv("TOWPATH_CONNECT_DIR", str(tmp_path))
    done = subprocess.run([sys.executable, str(CLIENT), *words], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
