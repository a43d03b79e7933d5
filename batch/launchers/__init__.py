"""The kinds of cluster that Towpath brings, a folder each.

`kind.py` in each folder describes the kind, and is all that other rooms ever import of it, by entry point.
"""
