"""The peers that are installed, running on the gateway's core; and why the others are not."""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.machine import Cores
from bench.peers.litellm import LiteLLM, LiteLLMWithDatabase
from bench.peers.nginx import Nginx
from bench.peers.peer import Absent, Peer, Place
from bench.peers.portkey import Portkey
from bench.pinned import on_core
from bench.stand import accepts, free_port
from bench.target import Target
from gateway.local.processes import Process, Service, StartError, stop, wait_ready

PEERS: tuple[Peer, ...] = (LiteLLM(), LiteLLMWithDatabase(), Portkey(), Nginx())


def install() -> bool:
    """Says of each what came of it. False where one could not be had."""
    complete = True
    for peer in PEERS:
        print(f"{peer.name} ...", flush=True)
        try:
            peer.install()
            print(f"{peer.name}: {peer.about()}", flush=True)
        except Absent as why:
            print(f"{peer.name} is absent: {why}", file=sys.stderr, flush=True)
            complete = False
    return complete


class Peers:
    """Run for the length of a `with` block. One that does not start is absent; the others go on."""

    def __init__(self, folder: Path, cores: Cores, upstream_port: int) -> None:
        self._folder = folder
        self._cores = cores
        self._upstream_port = upstream_port
        self._processes: list[Process] = []
        self.targets: list[Target] = []
        self.absent: dict[str, str] = {}

    def __enter__(self) -> Self:
        for peer in PEERS:
            try:
                self.targets.append(self._started(peer))
            except (Absent, StartError) as why:
                self.absent[peer.name] = str(why)
            except BaseException:
                self.__exit__(None)
                raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        for process in reversed(self._processes):
            stop([process])
            process.service.after()

    def _started(self, peer: Peer) -> Target:
        about = peer.about()
        run = self._folder / peer.name.replace(" ", "-").lower()
        run.mkdir()
        place = Place(run, free_port(), self._upstream_port)
        parts: dict[str, tuple[int, ...]] = {}
        for part, service in peer.services(place).items():
            core = self._cores.gateway if part == "gateway" else self._cores.others
            parts[part] = (self._run(replace(service, argv=self._pinned(service, core, run)), part, place.port),)
        return Target(peer.name, place.port, parts, peer.headers(place), about)

    def _run(self, service: Service, part: str, port: int) -> int:
        service = replace(service, ready=lambda: accepts(port)) if part == "gateway" else service
        process = Process.start(service)
        self._processes.append(process)
        try:
            wait_ready([process])
        except StartError:
            stop([process])
            raise
        return process.pid

    def _pinned(self, service: Service, core: int, run: Path) -> Sequence[str]:
        return on_core(core, run / f"{service.name}.pid", [shutil.which(service.argv[0]) or "", *service.argv[1:]])
