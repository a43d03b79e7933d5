"""Run by JupyterHub's own Python: the database as an earlier JupyterHub had it. Arguments: the file, and the revision."""

import sys

from alembic import command
from alembic.config import Config
from jupyterhub.dbutil import _temp_alembic_ini

path, revision = sys.argv[1:]
with _temp_alembic_ini(f"sqlite:///{path}") as settings:
    command.downgrade(Config(settings), revision)
