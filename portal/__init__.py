"""The hub's pages, forms and REST API, as Litestar routes.

Owns HTML and JSON. Does not know how bytes reach an app, how users sign in, or what a scheduler is:
it reads records and writes requests in `state`.
"""
