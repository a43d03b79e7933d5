"""A worker's in-memory copy of what the data plane needs for every request."""
