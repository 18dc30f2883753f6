"""A faithful stand-in for OpenAI's Responses API on one machine: docs/simulator.md has the table of scenarios."""

from gateway.local.simulator.server import Simulator

__all__ = ["Simulator"]
