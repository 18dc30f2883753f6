"""`python -m bench [--seconds S] [--rounds N] [--json]`: CPU-ms a request of gateway, PostgreSQL and Valkey.

Exit status 1 where a request failed or its record is not settled: then the figures mean nothing.
"""

import json
import os
import shutil
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

from bench.load import Failed, Load, refuse_unsettled
from bench.programs import BUILD, NoCompiler, build
from bench.report import facts, text
from bench.stand import Cores, Stand
from gateway.local.processes import StartError


def main() -> int:
    options = _options()
    try:
        found = _measured(options)
    except NoCompiler:
        said = "bench: nothing measured, because gcc is not installed (it builds the load generator and the upstream)."
        print(json.dumps({"skipped": said}) if options.json else said)
        return 0
    except (Failed, StartError, CalledProcessError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(json.dumps(found) if options.json else text(found))
    return 0


def _options() -> Namespace:
    parser = ArgumentParser(prog="python -m bench", description="CPU-ms per request at 64 concurrent, part by part.")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round and kind of request (default: 2)")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--json", action="store_true", help="print one JSON object, for machines")
    return parser.parse_args()


def _measured(options: Namespace) -> dict[str, Any]:
    programs, cores = build(), Cores.of_this_machine()
    os.sched_setaffinity(0, {cores.gateway})  # the calibration runs here, where the gateway does
    folder = Path(tempfile.mkdtemp(prefix=f"stand-{os.getpid()}-", dir=BUILD))  # on the disk that `var/` would be on
    try:
        with Stand(folder, programs, cores) as stand:
            figures = Load(stand, programs, cores, folder).measure(rounds=options.rounds, seconds=options.seconds)
            refuse_unsettled(stand, figures.requests)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return facts(figures, cores, options.rounds, options.seconds)


if __name__ == "__main__":
    sys.exit(main())
