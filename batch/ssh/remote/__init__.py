"""What the programs that run on hosts for one request share: standard library only, Python 3.6 and newer.

`batch.bundle` assembles such a program from these modules and its own. It is sent on standard input with each request,
so nothing is installed.
"""
