"""``python -m poolhttp``."""

import sys

from poolhttp.cli import main

sys.exit(main())
