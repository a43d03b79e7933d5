"""The door: who is asking, which path, may they, and where to."""
