"""Import from JupyterHub: read its database, make a plan, write the plan to the store."""
