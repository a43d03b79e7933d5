"""Builds a JobSpec from a server's choices."""
