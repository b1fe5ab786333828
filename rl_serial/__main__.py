"""``python -m rl_serial`` is the command ``rl-serial``."""

import sys

from rl_serial.cli import main

if __name__ == "__main__":
    sys.exit(main())
