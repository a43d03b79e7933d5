"""The step of `towpath serve` that has the hub's own certificates made."""

import asyncio
import os

import pytest

from gateway.serve.errors import ServeError
from gateway.serve.supervisor import Supervisor


def supervisor(folder, store_url):
    return Supervisor(
        data_dir=folder,
        redis_url=store_url,
        workers=0,
        arguments=["--data-dir", str(folder)],
        environment=os.environ,
    )


def test_they_are_made_before_the_workers_start(tmp_path, store_url):
    asyncio.run(supervisor(tmp_path, store_url).make_certificates())
    assert (tmp_path / "tls" / "gateway.pem").stat().st_mode & 0o777 == 0o600


def test_files_that_others_may_read_end_the_start_with_a_message(tmp_path, store_url):
    (tmp_path / "tls").mkdir(mode=0o755)
    with pytest.raises(
        ServeError, match=r"tls must be a folder of the hub's own account with mode 0700\. Change its owner or mode\.$"
    ):
        asyncio.run(supervisor(tmp_path, store_url).make_certificates())
