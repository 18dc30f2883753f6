"""Portkey's open gateway, from npm. It checks no key and keeps nothing; what to do comes with each request."""

import json
import shutil
from pathlib import Path

from bench.peers.peer import FOLDER, NOT_INSTALLED, PORTKEY, Absent, Place, said
from gateway.local.processes import Service

PACKAGE = "@portkey-ai/gateway@1.15.2"


class Portkey:
    name = PORTKEY
    folder = FOLDER / "portkey"

    def install(self) -> None:
        if shutil.which("npm") is None:
            raise Absent("npm is not installed")
        self.folder.mkdir(parents=True, exist_ok=True)
        words = ["npm", "install", "--prefix", str(self.folder), "--no-audit", "--no-fund", "--ignore-scripts", PACKAGE]
        said(*words)

    def about(self) -> str:
        node, package = shutil.which("node"), self._package() / "package.json"
        if node is None or not package.exists():
            raise Absent(NOT_INSTALLED)
        version = said(node, "--version")
        return f"{json.loads(package.read_text())['version']}, node {version.removeprefix('v')}, no key checked"

    def services(self, place: Place) -> dict[str, Service]:
        node = shutil.which("node")
        assert node is not None
        argv = [node, str(self._package() / "build" / "start-server.js"), f"--port={place.port}", "--headless"]
        log = place.run / "portkey.log"
        return {"gateway": Service(name=self.name, argv=argv, log=log, env={"NODE_ENV": "production"})}

    def headers(self, place: Place) -> tuple[str, ...]:
        return (
            "Authorization: Bearer sk-mock-0001",
            "x-portkey-provider: openai",
            f"x-portkey-custom-host: http://127.0.0.1:{place.upstream_port}/v1",
        )

    def _package(self) -> Path:
        return self.folder / "node_modules" / "@portkey-ai" / "gateway"
