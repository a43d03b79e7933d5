"""Records acts in the audit, and decides who may read which entries."""
