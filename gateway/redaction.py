"""No secret reaches a log: what looks like a key is cut out of every formatted line, tracebacks included."""

import logging
import re

SECRET = re.compile(r"\b(sk-[A-Za-z0-9_-]{4})[A-Za-z0-9_*-]{4,}|(?i:\b(bearer)\s+)[^\s'\"]{8,}")


def redacted(text: str) -> str:
    """`text` with API keys (ours and the providers') and bearer tokens cut out."""
    return SECRET.sub(lambda found: f"{found[1] or found[2]}[redacted]", text)


class RedactingFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))
