"""Requests and responses without a subject: bodies, redirects, pagination, where a page may lead."""
