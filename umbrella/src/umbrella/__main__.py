"""`python -m umbrella` is the command `umbrella`."""

import sys

from .cli import main

sys.exit(main())
