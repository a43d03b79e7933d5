"""The ways to speak to Slurm: its commands, slurmrestd, pyslurm."""
