"""Slurm: a server as a batch job of its user. docs/slurm.md describes the design.

Owns everything about Slurm. Does not know about the lifecycle of servers (`batch.controller.reconcile`).
"""
