"""The only access to Redis: URLs, connections, scripts and the translation of errors."""
