"""What Slurm says, in plain words: why a job waits, why it was refused, how it ended."""
