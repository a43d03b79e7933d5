"""The door: authenticates, authorizes and routes every request."""
