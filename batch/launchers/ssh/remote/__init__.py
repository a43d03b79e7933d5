"""The program that runs on a host for one request of the hub: standard library only, Python 3.6 and newer.

Each request sends the program's whole text on standard input, so nothing is installed. `batch.bundle` assembles it from
these modules and a few of the starter's. It answers with one line that begins with a mark of the request's own, because
login shells print whatever they like.
"""
