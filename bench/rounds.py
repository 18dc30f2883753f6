"""Rounds: every shape on every target in turn, so that the machine's moods meet all of them."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from bench.figures import Figures, Round
from bench.load import Failed
from bench.noise import Noise
from bench.setting import Setting
from bench.shapes import SHAPES, Shape
from bench.stand import Stand
from bench.target import Target

WARM_UP_SECONDS = 1.0
WARMING = ("json-64", "sse")
PAIRED = "json-64"  # of two processes too


class Rounds:
    """Raises Failed where a request to the gateway failed. A peer that fails is left out, and said to be."""

    def __init__(self, setting: Setting, stand: Stand, peers: Sequence[Target]) -> None:
        self._setting = setting
        self._ours = stand.ours()
        self._pair = stand.pair()
        self._peers = peers
        self.figures = Figures()

    def measure(self, shapes: Iterable[Shape], rounds: int) -> Figures:
        alone = [shape for shape in shapes if shape.alone]
        shared = [shape for shape in shapes if not shape.alone]
        self._warm_up()
        for shape in alone:
            self._measure(shape, self._ours)
        for _ in range(rounds):
            for shape in shared:
                for target in self._targets(shape):
                    self._measure(shape, target)
        return self.figures

    def _targets(self, shape: Shape) -> list[Target]:
        pair = [self._pair] if shape.name == PAIRED else []
        return [self._ours, *pair, *(self._peers if shape.peers else [])]

    def _warm_up(self) -> None:
        """With requests and streams, whatever is measured."""
        warm = replace(self._setting, seconds=WARM_UP_SECONDS)
        for shape in [shape for shape in SHAPES if shape.name in WARMING]:
            for target in self._targets(shape):
                self._tried(shape, target, warm)

    def _measure(self, shape: Shape, target: Target) -> None:
        if target.name in self.figures.missing.get(shape.name, {}):
            return
        noise = Noise(self._setting)
        found = self._tried(shape, target, self._setting)
        if found is not None:
            self.figures.add(shape.name, target.name, noise.beside(found))

    def _tried(self, shape: Shape, target: Target, setting: Setting) -> Round | None:
        try:
            return shape.measure(setting, target)
        except Failed as failure:
            if target not in self._peers:
                raise
            self.figures.miss(shape.name, target.name, str(failure))
            return None
