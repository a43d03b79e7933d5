"""Requests and responses in general: bodies, redirects, pagination, and where a page may redirect to."""
