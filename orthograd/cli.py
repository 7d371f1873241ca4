"""The command line: `python -m orthograd <step>` runs one step of the pipeline, as the DAG's rules do."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import pkgutil
import sys

from orthograd import steps

# Modules beside the steps that hold what several of them share.
SHARED = ("inputs", "results", "speech", "start")


def main() -> int:
    """Run the step that the command line names; each step is the module of that name in `orthograd.steps`."""
    # Read by torch at its first tensor: memory in big pages, where the system has them, takes fewer page faults.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    names = sorted(
        module.name for module in pkgutil.iter_modules(steps.__path__) if module.name not in SHARED
    )
    parser = argparse.ArgumentParser(
        prog="orthograd", description="OrthoGrad: the pipeline's steps, one at a time.", add_help=False
    )
    parser.add_argument("step", choices=names, help="`orthograd <step> --help` explains its arguments")
    if not sys.argv[1:] or sys.argv[1] in ("-h", "--help"):
        parser.print_help()
        return 0
    name = parser.parse_args(sys.argv[1:2]).step
    module = importlib.import_module(f"orthograd.steps.{name}")
    step = argparse.ArgumentParser(prog=f"orthograd {name}", description=module.__doc__)
    module.add_arguments(step)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    module.run(step.parse_args(sys.argv[2:]))
    return 0
