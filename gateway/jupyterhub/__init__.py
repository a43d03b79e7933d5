"""What a JupyterHub leaves behind, carried over: its database read, a plan made, the plan carried out."""
