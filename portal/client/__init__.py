"""The client of `towpath connect`, which the hub also serves as one file."""
