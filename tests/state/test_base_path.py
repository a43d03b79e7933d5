"""The path of `public_url` and `base_path` are the same setting."""

import pytest

from state.errors import ConfigError
from state.settings.loader import load

BOTH = 'public_url = "https://hpc.example.edu/jupyter"\nbase_path = "/jupyter/"'


@pytest.fixture
def gateway(tmp_path):
    def read(text, **environment):
        (tmp_path / "towpath.toml").write_text(f"[gateway]\n{text}\n")
        found = load(tmp_path / "towpath.toml", tmp_path / "data", environment=environment).config.gateway
        return found.base_path, found.public_url, found.internal_url

    return read


@pytest.mark.parametrize(
    ("text", "base_path", "public_url"),
    [
        ('public_url = "https://hpc.example.edu/jupyter"', "/jupyter/", "https://hpc.example.edu"),
        ('public_url = "https://hpc.example.edu/a/b/"', "/a/b/", "https://hpc.example.edu"),
        (BOTH, "/jupyter/", "https://hpc.example.edu"),
        ('public_url = "https://hpc.example.edu"\nbase_path = "/jupyter/"', "/jupyter/", "https://hpc.example.edu"),
        ('public_url = "https://hpc.example.edu/"', "/", "https://hpc.example.edu"),
        ('public_url = "https://hpc.example.edu:8443/x"', "/x/", "https://hpc.example.edu:8443"),
        ('base_path = "/jupyter/"', "/jupyter/", ""),
    ],
)
def test_the_base_path_follows_from_either_key(gateway, text, base_path, public_url):
    assert gateway(text)[:2] == (base_path, public_url)


def test_the_base_path_follows_from_the_environment(gateway):
    assert gateway("", TOWPATH_GATEWAY_PUBLIC_URL="https://h.example.edu/x")[0] == "/x/"
    assert gateway("", TOWPATH_GATEWAY_BASE_PATH="/x/")[0] == "/x/"


def test_the_internal_url_can_have_the_path_too(gateway):
    assert gateway(f'{BOTH}\ninternal_url = "http://10.0.0.1:8000/jupyter/"')[2] == "http://10.0.0.1:8000"
    assert gateway(f'{BOTH}\ninternal_url = "http://10.0.0.1:8000"')[2] == "http://10.0.0.1:8000"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('public_url = "https://hpc.example.edu/jupyter"\nbase_path = "/hub1/"', "gateway.public_url"),
        ('public_url = "https://hpc.example.edu/jupyter"\nbase_path = "/"', "gateway.public_url"),
        (f'{BOTH}\ninternal_url = "http://10.0.0.1:8000/other"', "gateway.internal_url"),
        ('public_url = "https://hpc.example.edu/%6A"', "gateway.base_path"),
        ('public_url = "https://hpc.example.edu/x?y"', "gateway.public_url"),
        ('public_url = "https://me@hpc.example.edu/x"', "gateway.public_url"),
    ],
)
def test_different_paths_are_an_error(gateway, text, key):
    with pytest.raises(ConfigError) as found:
        gateway(text)
    assert [fault.key for fault in found.value.faults] == [key]
