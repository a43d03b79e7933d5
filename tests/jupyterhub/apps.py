"""The paths of JupyterHub's programs in these tests: the environment of the development cluster's apps."""

import os
from pathlib import Path

BIN = Path(os.environ.get("TOWPATH_TEST_APPS", "/var/tmp/towpath-apps")) / "python" / "bin"
SINGLEUSER = BIN / "jupyterhub-singleuser"
CULLER = BIN / "jupyterhub-idle-culler"
