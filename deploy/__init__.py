"""Deployment: the development cluster and sudo rules. Not part of the installed package."""
