"""A hub without a controller: Valkey, a real worker, and records that the test writes itself.

For tests of what users see of a cluster: no scheduler changes it.
"""

import asyncio
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from catalogs import ALICE, CATALOG
from hub import Hub, eventually
from msgspec.structs import replace

from batch.authority import ensure
from gateway.serve import valkey
from state.errors import StateUnavailableError
from state.offer.catalog import Reservation
from state.settings.loader import load
from state.store.all import Store
from state.store.health import LEASE

CONFIG = """
[auth]
admins = ["carol"]
allowed_users = ["alice", "bob"]

[[auth.provider]]
name = "test"
kind = "test"

[[cluster]]
name = "lake"
kind = "slurm"

[[profile]]
name = "jupyterlab"
title = "JupyterLab"
description = "Notebooks, terminals and files, on a node of the cluster."
cluster = "lake"

[profile.option.partition]
title = "Partition"
kind = "partition"

[profile.option.account]
title = "Account"
kind = "account"

[profile.option.qos]
title = "Quality of service"
kind = "qos"

[profile.option.gpu]
title = "Type of GPU"
kind = "gpu"

[profile.option.gpus]
title = "GPUs"
kind = "gpus"

[profile.option.cores]
title = "Cores"
kind = "cores"
default = 2

[profile.option.memory]
title = "Memory"
kind = "memory"
default = "4G"

[profile.option.time]
title = "Time limit"
kind = "walltime"
help = "The server stops when the time limit is reached. Save your work before then."

[profile.option.reservation]
title = "Reservation"
kind = "reservation"

[[profile]]
name = "tensorboard"
title = "TensorBoard"
description = "Metrics of training runs, from your home directory."
cluster = "lake"
app = "web"
command = ["tensorboard", "--port={port}"]

[profile.resources]
cores = 1
memory = "2G"
walltime = "04:00:00"
"""

SHARED = """
[[cluster]]
name = "local"
kind = "local"
isolation = "none"
"""
"""A cluster for hubs of several users whose servers do not matter."""


class Stage(Hub):
    """One worker with its own store."""

    def __init__(self, folder: Path, *, config: str = CONFIG) -> None:
        super().__init__(folder, config=config)
        self.data_dir.mkdir(mode=0o700)
        self.redis_url = valkey.url(self.data_dir)
        self._valkey: subprocess.Popen[bytes] | None = None

    def environment(self):
        return {**super().environment(), "TOWPATH_STATE_REDIS_URL": self.redis_url}

    def start(self):
        self._valkey = subprocess.Popen(valkey.command(self.data_dir))
        eventually(self._answers, what="Valkey")
        ensure(self.data_dir, load(self.config, self.data_dir, environment={}).config)  # as if it had joined
        # as if a controller led: none is there to change what a test puts into the store
        self.run(lambda store: store.leases.take(LEASE, "stage", seconds=24 * 3600.0))
        return super().start("gateway")

    def stop(self, *args):
        super().stop(*args)
        if self._valkey is not None:
            self._valkey.terminate()
            self._valkey.wait(30)
            self._valkey = None

    def _answers(self):
        async def ask(store):
            return True

        with suppress(StateUnavailableError):
            return self.run(ask)
        return False

    def run(self, work):
        """Return `await work(store)`."""

        async def with_store():
            store = await Store.open(self.redis_url)
            try:
                return await work(store)
            finally:
                await store.close()

        # in another thread, because a browser driver may use this thread's event loop
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(asyncio.run, with_store()).result()

    def catalog(self, catalog=CATALOG, *, age=20.0, maintenance=0.0, **grants):
        """Write a catalog that was gathered `age` seconds ago. By default alice may use it.

        `maintenance`: in how many seconds that of partition cpu begins; 0: there is none.
        """
        now = time.time()
        moved = tuple(
            replace(one, start=now - 60, end=now + 3600) for one in catalog.reservations if one.end > catalog.time
        )
        if maintenance:
            begins = now + maintenance
            one = Reservation(name="repair", start=begins, end=begins + 7200, users=("root",), maintenance=True)
            moved = (*moved, replace(one, whole_partitions=("cpu",)))
        fresh = replace(catalog, time=now - age, reservations=moved)
        self.run(lambda store: store.catalogs.put(fresh, grants or {"alice": ALICE}, fence=1))

    def put(self, user="alice", name="", *, event=None, **changes):
        """Change a record as the controller would."""

        async def change(store):
            server = await store.servers.get(user, name)
            told = None if event is None else replace(event, attempt=server.attempt)
            return await store.servers.save(replace(server, **changes), event=told)

        return self.run(change)
