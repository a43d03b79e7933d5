"""JupyterHub 6.1 with batchspawner 1.3 on Slurm as a peer: batchspawner's defaults, and paths.

Read by `jupyterhub -f`. It extends the benchmark's configuration of JupyterHub on one machine.
"""

import os
from pathlib import Path

import batchspawner  # noqa: F401  (importing it adds the API to which jobs report their port)

load_subconfig(str(Path(os.environ["BENCH_BASE_CONFIG"])))  # noqa: F821  (JupyterHub defines it)
c = get_config()  # noqa: F821
bin_dir = os.environ["BENCH_BIN"]

c.JupyterHub.spawner_class = "batchspawner.SlurmSpawner"
c.SlurmSpawner.batchspawner_singleuser_cmd = f"{bin_dir}/batchspawner-singleuser"
c.Spawner.cmd = [f"{bin_dir}/jupyterhub-singleuser"]
c.Spawner.default_url = "/lab"
c.Spawner.env_keep = ["PATH", "LANG", "SLURM_CONF"]
c.SlurmSpawner.req_partition = "cpu"
c.SlurmSpawner.req_nprocs = "1"
c.SlurmSpawner.req_runtime = "60"
# Jobs listen on their node's address; batchspawner's 0.0.0.0 would be all addresses of the machine.
c.SlurmSpawner.req_prologue = 'export JUPYTERHUB_SERVICE_URL="${JUPYTERHUB_SERVICE_URL/0.0.0.0/$(hostname -i)}"'
