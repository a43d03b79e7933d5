"""The clients for Slurm: its commands, slurmrestd, pyslurm."""
