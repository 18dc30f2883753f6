"""What Dockerfile and docker-compose.yml say, read without an engine."""

import json
import re
import shlex
import shutil
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = re.compile(r"\$\$|\$\{(\w+)(?::([?-])([^}]*))?\}")


def instructions():
    """The Dockerfile's, in order, with comments gone and continued lines joined: (word, rest)."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if line and not line.startswith("#")]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines()]


def last(word):
    """What the final stage says after `word` (its last one, as for Docker)."""
    return [rest for instruction, rest in instructions() if instruction == word][-1]


def command():
    return json.loads(last("CMD"))


def healthcheck():
    return json.loads(last("HEALTHCHECK").partition(" CMD ")[2])


def environment():
    return dict(word.split("=", 1) for word in shlex.split(last("ENV")))


def collecting():
    """The shell line of the build that collects the static files."""
    (line,) = [rest for word, rest in instructions() if word == "RUN" and "collectstatic" in rest]
    return line


def copy_context(folder):
    """What `COPY . .` brings into the image: .dockerignore names what is let through, and ignores all else."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    for name in [rule.removeprefix("!") for rule in rules if rule.startswith("!")]:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)


def compose(values=None):
    """The compose file; with `values`, each ${NAME} in it replaced. Raises KeyError where a needed one is missing."""
    text = (ROOT / "docker-compose.yml").read_text()
    found = yaml.safe_load(text)
    return found if values is None else _filled(found, values)


def references():
    """Names in the compose file: {name: the sentence that asks for it, or None where it has a default}."""
    code = "\n".join(line.partition(" #")[0] for line in (ROOT / "docker-compose.yml").read_text().splitlines())
    found = {}
    for name, kind, text in REFERENCE.findall(code):
        if name:
            found[name] = text if kind == "?" else None
    return found


def example():
    """Names and values of .env.example."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def _filled(node, values):
    if isinstance(node, dict):
        return {key: _filled(value, values) for key, value in node.items()}
    if isinstance(node, list):
        return [_filled(value, values) for value in node]
    return REFERENCE.sub(lambda match: _value(match, values), node) if isinstance(node, str) else node


def _value(match, values):
    name, kind, text = match.groups()
    if name is None:
        return "$"
    return (values.get(name) or text) if kind == "-" else values[name]
