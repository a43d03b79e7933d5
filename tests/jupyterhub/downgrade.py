"""Run by JupyterHub's Python: downgrade a database to an earlier revision. Arguments: the file, the revision."""

import sys

from alembic import command
from alembic.config import Config
from jupyterhub.dbutil import _temp_alembic_ini

path, revision = sys.argv[1:]
with _temp_alembic_ini(f"sqlite:///{path}") as settings:
    command.downgrade(Config(settings), revision)
