"""Entry point of a child process: `python -m drivers.isolation FD PARENT_PID`."""

import sys

from drivers.isolation.child import main

main(int(sys.argv[1]), int(sys.argv[2]))
