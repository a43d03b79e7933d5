"""The benchmark on a cluster: Towpath and JupyterHub with batchspawner on one real Slurm, in one run.

`python -m tests.bench_slurm --help` says how to run it. Owns: the cluster and its people, the scenarios, and the second
part of docs/performance.md. Refuses to know how either hub does its work: it drives the REST API that they share, and
counts what slurmctld says it was asked.
"""
