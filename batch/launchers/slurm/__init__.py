"""Slurm: a server as a batch job of its user. The design is docs/slurm.md.

Owns everything that is about Slurm. Does not know servers' lifecycles (`batch.controller.reconcile`).
"""
