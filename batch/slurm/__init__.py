"""Clusters of kind `slurm`: how a server becomes a batch job, and what Slurm says about it.

docs/slurm.md says who owns what.
"""
