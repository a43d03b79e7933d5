"""The one door to Redis: URLs, connections, scripts, and the translation of errors."""
