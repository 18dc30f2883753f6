"""`python -m bench [SHAPE...] [--peers] [--repeat N] [--seconds S] [--rounds N] [--json]`: what a request costs.

`python -m bench install-peers` gets the gateways that `--peers` measures beside ours. Exit status 1 where a request
failed or its record is not settled: then the figures mean nothing. A goal that is missed is printed as a miss.
"""

import json
import os
import resource
import shutil
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from contextlib import ExitStack
from pathlib import Path
from subprocess import CalledProcessError

from bench.load import Failed, Load
from bench.machine import Cores
from bench.peers.running import Peers, install
from bench.programs import BUILD, NoCompiler, Programs, build
from bench.report import Report, verdicts
from bench.rounds import Rounds
from bench.setting import Setting
from bench.shapes import SHAPES
from bench.stand import Stand, refuse_unsettled
from gateway.local.processes import StartError

INSTALL = "install-peers"


def main() -> int:
    options = _options()
    if options.what == [INSTALL]:
        return 0 if install() else 1
    try:
        reports = _reports(options)
    except NoCompiler:
        said = "bench: nothing measured, because gcc is not installed (it builds the load generator and the upstream)."
        print(json.dumps({"skipped": said}) if options.json else said)
        return 0
    except (Failed, StartError, CalledProcessError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if len(reports) > 1 and not options.json:
        print(f"\n{verdicts(reports)}")
    return 0


def _options() -> Namespace:
    parser = ArgumentParser(prog="python -m bench", description="What a request costs, part by part, and the goals.")
    names = [shape.name for shape in SHAPES]
    parser.add_argument("what", nargs="*", metavar="SHAPE", help=f"{', '.join(names)} (default: all); or {INSTALL}")
    parser.add_argument("--peers", action="store_true", help="measure the installed peers in the same rounds")
    parser.add_argument(
        "--repeat", type=int, default=1, metavar="N", help="the whole, afresh, so many times (default: 1)"
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round and shape (default: 2)")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--json", action="store_true", help="print one JSON object a repetition, for machines")
    options = parser.parse_args()
    if options.what != [INSTALL] and (unknown := set(options.what) - set(names)):
        parser.error(f"no such shape: {', '.join(sorted(unknown))}")
    return options


def _reports(options: Namespace) -> list[Report]:
    """Prints each as it comes."""
    programs, cores = build(), Cores.of_this_machine()
    os.sched_setaffinity(0, {cores.gateway})  # the calibration runs here, where the gateway does
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a thousand streams are two thousand sockets
    reports = []
    for _ in range(options.repeat):
        reports.append(_measured(options, programs, cores))
        print(json.dumps(reports[-1].facts()) if options.json else reports[-1].text(), flush=True)
    return reports


def _measured(options: Namespace, programs: Programs, cores: Cores) -> Report:
    folder = Path(tempfile.mkdtemp(prefix=f"stand-{os.getpid()}-", dir=BUILD))  # on the disk that `var/` would be on
    shapes = [shape for shape in SHAPES if not options.what or shape.name in options.what]
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stand = stack.enter_context(Stand(folder, programs, cores, pair=True))
        peers = stack.enter_context(Peers(folder, cores, stand.upstream_port)) if options.peers else None
        load = Load(programs.load, cores.others, folder)
        setting = Setting(load, stand.upstream(), cores, options.seconds)
        rounds = Rounds(setting, stand, peers.targets if peers else [])
        figures = rounds.measure(shapes, options.rounds)
        refuse_unsettled(stand, load.requests)
        targets = [stand.ours(), *(peers.targets if peers else [])]
    absent = peers.absent if peers else {}
    return Report(figures, targets, absent, cores, options.seconds, options.rounds)


if __name__ == "__main__":
    sys.exit(main())
