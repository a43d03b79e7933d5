"""The program that runs on a login node for one request of the hub: standard library only, Python 3.6 and newer.

It runs one of Slurm's commands, or looks accounts and groups up. `batch.ssh.programs` assembles it from these modules
and those of `batch.ssh.remote`.
"""
