"""The REST API under /hub/api: JupyterHub's shapes, and Towpath's additions under /hub/api/towpath."""
