"""The process that closes the gap between what is wanted and what runs."""
