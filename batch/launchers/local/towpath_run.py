"""What sudo runs as a user, for a hub that is not root: reads a program on standard input and runs it.

It has no arguments, so that a sudoers file can name the whole command line (deploy/sudoers/towpath-run). The program is
`batch.launchers.ssh.remote`, after a line with its length. One that is cut short does nothing.
"""

import sys

exec(sys.stdin.buffer.read(int(sys.stdin.buffer.readline())))  # noqa: S102 - the hub may run any program as this user
