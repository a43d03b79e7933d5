"""The data plane: from a request under `/user/...` to an app, and back.

Owns: header rules, upstream connections, WebSocket splicing. Refuses to know pages, forms and profiles.
"""
