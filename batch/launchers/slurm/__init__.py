"""Slurm: a server as a batch job of the person whose server it is. The design is docs/slurm.md.

Owns: everything that knows Slurm's words. Refuses to know servers' lifecycles (`batch.controller.reconcile`).
"""
