"""What the tests of edges share: hubs at two base paths, all edges, a browser."""

import pytest

from tests.edge import rig


@pytest.fixture(scope="package")
def certificate(tmp_path_factory):
    return rig.Certificate(tmp_path_factory.mktemp("edge-certificate"))


@pytest.fixture(scope="package")
def slapd(tmp_path_factory):
    directory = rig.directory(tmp_path_factory.mktemp("edge-slapd"))
    yield directory
    directory.stop()
