"""Messages for users: why a job waits, why it was refused, how it ended."""
