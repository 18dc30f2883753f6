"""No secret reaches a log or a tenant: what looks like a key or an account's id is cut out of a text."""

import logging
import re

SECRET = re.compile(
    r"\b(sk-)[A-Za-z0-9_*.-]{4,}"  # API keys, ours and the providers', masked ones too
    r"|(?i:\b(bearer\s+))[^\s'\"]{4,}"
    r"|\b(org-|proj_)[A-Za-z0-9]{6,}"
)


def redacted(text: str, *names: str) -> str:
    """`text` without API keys, bearer tokens, account ids, and the `names` given (hosts)."""
    for name in names:
        text = text.replace(name, "[upstream]")
    return SECRET.sub(lambda found: f"{found[1] or found[2] or found[3]}[redacted]", text)


class RedactingFormatter(logging.Formatter):
    """Formats a record, traceback included, and cuts secrets out of the whole."""

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))
