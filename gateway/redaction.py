"""No secret reaches a log or a tenant: what looks like a key or an account's id is cut out of a text.

Ordinary words stay: `task-force`, `sk-learn`, `org-chart`, `bearer token`. A secret is also found behind what ends a
word only for a person: an underscore, or an escape such as the `\\n` of a repr, the `%22` of a URL, a colour's `[1m`.
"""

import logging
import re

START = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrtbf])|(?<=%[0-9A-Fa-f]{2})|(?<=\\x[0-9a-f]{2})|(?<=\\u[0-9a-f]{4})|(?<=[0-9]m))"
SECRET = re.compile(
    r"(?=[AbBghopsx])(?:"  # how they all begin: three times as fast
    r"(sk-tg-|sk-proj-|sk-svcacct-|sk-ant-)[A-Za-z0-9_*.-]{4,}"  # ours and the best known providers', wherever they are
    rf"|{START}(?:"
    r"(sk-)(?![a-z]{1,10}(?:[^A-Za-z0-9_*.-]|\.?(?:\s|$)))[A-Za-z0-9_*.-]{4,}"  # any provider's, masked ones too
    r"|(gsk_|xai-|hf_|AIza)[A-Za-z0-9_-]{16,}"
    r"|(?i:(bearer\s+)(?!(?:tokens?|keys?|auth[a-z]*|credentials?|header|scheme|or|and|is)\b))[^\s'\"\\]{4,}"
    r"|(org-|proj_)(?:[A-Za-z0-9_-]{16,}|(?=[A-Za-z]*[0-9A-Z])[A-Za-z0-9]{6,})))"
)

SHORTEST_SECRET = 8
WORD_OR_NUMBER = re.compile(r"[A-Za-z]{1,20}|[0-9]{1,20}")
NO_SECRET = (
    f"This key cannot be a secret: it has less than {SHORTEST_SECRET} characters, or is a mere word or number, which "
    "would be cut out of what models say. Where the upstream asks for none, make one up, such as sk-none-0001."
)


def is_secret(key: str) -> bool:
    """Whether an upstream's key can be told from ordinary text."""
    return len(key) >= SHORTEST_SECRET and not WORD_OR_NUMBER.fullmatch(key)


def redacted(text: str, *names: str) -> str:
    """`text` without API keys, bearer tokens, account ids, and the `names` given (hosts)."""
    for name in names:
        text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", "[upstream]", text, flags=re.IGNORECASE)
    return SECRET.sub(lambda found: f"{next(filter(None, found.groups()))}[redacted]", text)


class RedactingFormatter(logging.Formatter):
    """Formats a record, traceback included, and cuts secrets out of the whole."""

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))
