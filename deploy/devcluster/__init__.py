"""A real Slurm on one machine, for trying things on: `python3 -m deploy.devcluster up`. See README.md.

Standard library only, and Debian's own Python: it runs before anything is installed.
"""
