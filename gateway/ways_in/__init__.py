"""The ways in: how a byte stream is opened to an app, one module for each kind of endpoint.

`contract.WayIn` is what they have in common, and everything that the tunnel knows of them. Which endpoint belongs to a
request is decided by the route table alone.
"""
