"""A worker's own copy of what the data plane asks for at every request."""
