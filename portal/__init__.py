"""What people see and what programs call: pages, forms and the REST API. Litestar routes.

Owns: HTML and JSON. Refuses to know how bytes reach an app, how anybody signs in, and what a scheduler is:
it reads and writes intent in `state`.
"""
