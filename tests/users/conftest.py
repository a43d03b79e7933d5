"""The Unix accounts of alice, bob and carol for the tests of one module, and a hub on this machine."""

import pytest

from tests.batch.launchers.local.making import unix_users
from tests.users.users_hub import HOMELESS, UsersHub, short


@pytest.fixture(scope="module")
def users():
    with unix_users(HOMELESS) as folder:
        yield folder


@pytest.fixture
def hub(users, short_folder):
    hub = UsersHub(short(short_folder), users)
    try:
        yield hub.start()
    finally:
        hub.close()
