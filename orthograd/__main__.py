"""`python -m orthograd`."""

import sys

from orthograd.cli import main

sys.exit(main())
