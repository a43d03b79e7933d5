"""Run by JupyterHub's Python: write the database of a hub with users, and print the secrets of their tokens.

Arguments: the database, and the working folder. Output: JSON, name to secret.
"""

import asyncio
import json
import os
import sys
from datetime import timedelta

from jupyterhub import orm
from jupyterhub.app import JupyterHub
from jupyterhub.utils import utcnow
from traitlets.config import Config


async def main(path):
    config = Config()
    config.JupyterHub.db_url = f"sqlite:///{path}"
    config.JupyterHub.authenticator_class = "dummy"
    config.JupyterHub.load_groups = {
        "physics": {"users": ["alice", "bob"], "properties": {"quota": 3}},
        "empty": {"users": []},
    }
    config.JupyterHub.load_roles = [
        {
            "name": "teachers",
            "description": 'Teach "physics"',
            "scopes": ["admin:servers!group=physics"],
            "users": ["bob"],
            "groups": ["physics"],
        }
    ]
    config.JupyterHub.services = [{"name": "culler", "api_token": "x" * 40}]
    config.Authenticator.allowed_users = {"alice", "bob", "dora smith", "Ärger", "root"}
    config.Authenticator.admin_users = {"carol"}
    app = JupyterHub(config=config, log_level=50)
    await app.initialize([])
    db = app.db
    users = {user.name: user for user in db.query(orm.User)}
    secrets = {
        "whole": users["alice"].new_api_token(note="nightly"),
        "narrow": users["alice"].new_api_token(note="reader", scopes=["read:servers!user=alice"]),
        "mortal": users["alice"].new_api_token(note="a week", expires_in=7 * 24 * 3600),
        "revoked": users["alice"].new_api_token(note="to be revoked"),
        "admins": users["carol"].new_api_token(note="admin"),
        "expired": users["bob"].new_api_token(note="over", expires_in=3600),
        "odd": users["dora smith"].new_api_token(note="not imported"),
        "own": users["bob"].new_api_token("a-token-that-bob-made-up-himself", note="own", generated=False),
    }
    over = orm.APIToken.find(db, secrets["expired"])
    over.expires_at = utcnow(with_tz=False) - timedelta(hours=1)
    spawner = orm.Spawner(name="lab2", user=users["alice"])
    db.add(spawner)
    db.commit()
    orm.Share.grant(db, spawner, users["bob"])
    orm.Share.grant(db, spawner, db.query(orm.Group).filter_by(name="physics").one())
    orm.ShareCode.new(db, spawner, scopes=["access:servers!server=alice/lab2"])
    db.commit()
    db.close()
    print("SECRETS " + json.dumps(secrets))


os.chdir(sys.argv[2])
asyncio.run(main(sys.argv[1]))
