"""The way in `ssh`: channels of SSH connections, straight to apps' sockets (docs/decisions/0015-way-in-over-ssh.md).

Importing this loads no SSH: only `door` imports asyncssh, when the first stream is opened.
"""
