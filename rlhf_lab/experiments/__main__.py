"""Run an experiment: `python -m rlhf_lab.experiments`."""

import sys

from rlhf_lab.experiments import main

if __name__ == "__main__":
    sys.exit(main())
