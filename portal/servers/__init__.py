"""Servers: starting, stopping, reports, models and routes."""
