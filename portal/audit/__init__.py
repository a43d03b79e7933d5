"""Acts noted for the audit, and who may read which part of it."""
