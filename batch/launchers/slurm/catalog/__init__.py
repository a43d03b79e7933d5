"""The catalog of a Slurm cluster: how Slurm is queried, and how its answers are parsed."""
