"""The catalog of a Slurm cluster: how it is asked for, and how the answers are read."""
