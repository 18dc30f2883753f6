"""Keys that are a judged field's name in other letters: `Model`, `maxOutputTokens`. Pure.

Some parsers take them for that field (Go's by default, protobuf's for the other style), so that what an upstream reads
would be another request than the one that was judged.
"""

from string import ascii_letters, digits

from gateway.wire.fetched import IN_PLACE
from gateway.wire.references import CONTENT_FIELDS, HARMLESS, REFERENCES
from gateway.wire.request import CreateRequest

# What is read beside the tables: of tools, items and their parts (gateway/permission.py, bound.py, images.py).
READ_BESIDE = {
    "type", "role", "id", "tools", "server_url", "environment", "execution", "skills", "memory_limit", "detail",
    "image_url", "file_url", "file_data", "url",
}  # fmt: skip
SIGNS = bytes(set(range(128)) - set((ascii_letters + digits).encode()))
JUDGED = {
    *CreateRequest.__struct_fields__,
    *(field for _, field in (*REFERENCES, *HARMLESS)),
    *(field for fields in CONTENT_FIELDS.values() for field in fields),
    *IN_PLACE,
    *READ_BESIDE,
}


def _letters(key: str) -> bytes:
    """What is left of it to whoever sees neither case nor signs. A body may have very many keys."""
    seen = key.partition("\0")[0]  # some end a text there
    return seen.casefold().encode("ascii", "ignore").translate(None, SIGNS)


_by_letters = {_letters(name): name for name in JUDGED}


def respelt(key: str) -> str | None:
    """The judged field that `key` is in other letters; None where it is one, or none at all."""
    return None if key in JUDGED else _by_letters.get(_letters(key))
