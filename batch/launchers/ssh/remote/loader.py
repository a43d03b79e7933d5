"""How the starter is run: from a descriptor, so that what was checked is what runs, and under a mark.

The mark, the attempt and the share are in the command line, by which a job is found again.
"""

LOCK_FD, CODE_FD = 3, 4
LOADER = (
    'import os, sys; f = os.fdopen(%d, "rb"); code = f.read(); f.close(); sys.argv[1:] = []; '
    'exec(compile(code, "towpath-starter", "exec"))' % CODE_FD
)
