"""The benchmark on a cluster: Towpath and JupyterHub with batchspawner on one real Slurm, in one run.

`python -m tests.bench_slurm --help` says how to run it. Owns the cluster and its users, the scenarios, and the second
part of docs/performance.md. Does not know how either hub works: it uses the REST API that they share, and counts the
messages that slurmctld reports.
"""
