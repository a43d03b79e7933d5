"""A hub whose jobs run on other machines needs an encrypted way for their reports."""

import pytest

from state.errors import ConfigError
from state.settings.loader import load

TEXT = """
[gateway]
{gateway}
[auth]
allowed_users = ["alice"]
[[cluster]]
name = "hpc"
kind = "{kind}"
[[profile]]
name = "lab"
cluster = "hpc"
"""


def settings(tmp_path, gateway, kind="slurm"):
    file = tmp_path / "towpath.toml"
    file.write_text(TEXT.format(gateway=gateway, kind=kind))
    return load(file, tmp_path / "data", environment={})


@pytest.mark.parametrize(
    "gateway",
    [
        "",
        'host = "0.0.0.0"\nreport_port = 8443',
        'host = "0.0.0.0"\ninternal_url = "https://hub.example.org"',
        'host = "0.0.0.0"\ninternal_url = "http://127.0.0.1:8000"',
    ],
)
def test_ways_to_encrypt_reports(tmp_path, gateway):
    assert settings(tmp_path, gateway)


@pytest.mark.parametrize(
    "gateway", ['host = "0.0.0.0"', 'internal_url = "http://hub.example.org:8000"\nreport_port = 1']
)
def test_plain_http_is_an_error_that_says_what_to_set(tmp_path, gateway):
    with pytest.raises(ConfigError, match=r"jobs of 'hpc' report over the network.*report_port"):
        settings(tmp_path, gateway)
    assert settings(tmp_path, gateway, kind='local"\nisolation = "none')
