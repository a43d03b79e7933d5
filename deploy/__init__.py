"""How Towpath is put on machines: the cluster that everything is tried on. Not part of the installed package."""
