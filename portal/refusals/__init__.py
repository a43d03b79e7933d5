"""Converts errors to responses: a page for a browser, JSON for a program."""
