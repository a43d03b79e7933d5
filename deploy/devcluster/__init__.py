"""A real Slurm cluster on one machine, for development and tests: `python3 -m deploy.devcluster up`. See README.md.

Uses only the standard library and Debian's Python, because it runs before anything is installed.
"""
