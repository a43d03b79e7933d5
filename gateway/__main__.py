"""`python -m gateway`: the command line, as `towpath` is."""

import sys

from gateway.cli import main

sys.exit(main())
