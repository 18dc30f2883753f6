"""How many tokens an image may be, by the rules that OpenAI publishes for each family of models. Pure.

Source: https://developers.openai.com/api/docs/guides/images-vision, "Model sizing behavior" and "Calculating costs", as
of autumn 2026. Where a family has several rules the dearest is here; a name that is none of these gets the dearest of
all. A size is read from an image's header, only where upstreams cannot read another one there.
"""

import base64
import binascii
import re
import struct
from dataclasses import dataclass
from functools import lru_cache

PATCH = 32  # pixels a side
PATCHES_OF_LOW_DETAIL = 256  # 512 x 512 pixels, to which a smaller image may be enlarged
REDUCED = ("low", "high")  # details that are never more than the high budget
LOOKS = (64, 4096, 4 * 32 * 1024)  # characters of base64: cameras write up to 64 KiB before a JPEG's size
JPEG = "/9j/"
DATA_URL = re.compile(r"data:image/[a-z0-9.+-]{1,40};base64,", re.IGNORECASE)

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class ImageRule:
    """Tokens by 32 px patches, in hundredths a patch; budgets in patches, None = none. `least`: dearest by tiles."""

    hundredths_a_patch: int
    high_budget: int | None
    original_budget: int | None
    least: int = 0

    def most_tokens(self, size: Size | None, detail: object) -> int | None:
        """The most that an image of `size` (None: unknown) may be; None where nothing bounds it."""
        most = self.high_budget if detail in REDUCED else self.original_budget
        if size is not None:
            patches = max(PATCHES_OF_LOW_DETAIL, -(-size[0] // PATCH) * -(-size[1] // PATCH))
            most = patches if most is None else min(most, patches)
        return None if most is None else max(self.least, -(-most * self.hundredths_a_patch // 100))


# Tiles: at most 8 of 512 px, base and price of a tile: 75 to 85 and 150 to 170, but 2,833 and 5,667 for gpt-4o-mini.
SMALL = ImageRule(246, 1536, 1536, least=85 + 8 * 170)
LARGE_TILES = ImageRule(246, 1536, 1536, least=2833 + 8 * 5667)
ORIGINAL = ImageRule(120, 2500, 10_000)
UNLIMITED = ImageRule(246, 2500, None)
UNKNOWN = ImageRule(246, None, None, least=LARGE_TILES.least)
RULES = {
    "gpt-4o-mini": LARGE_TILES,
    **dict.fromkeys(("gpt-4o", "gpt-4.1", "gpt-4.5", "chatgpt-4o", "o1", "o3", "o4-mini", "codex-mini"), SMALL),
    **dict.fromkeys(("computer-use-preview", "gpt-5", "gpt-5.1", "gpt-5.2", "gpt-5.3"), SMALL),
    **dict.fromkeys(("gpt-5.4-mini", "gpt-5.4-nano"), SMALL),
    **dict.fromkeys(("gpt-5.4", "gpt-5.5"), ORIGINAL),
    **dict.fromkeys(("gpt-5.", "gpt-6", "gpt-7"), UNLIMITED),  # gpt-5.6 and what has come after it
}


@lru_cache(maxsize=1024)
def image_rule_of(model: str) -> ImageRule:
    """The rule of an upstream's model, by the longest prefix; fine-tuned ones go by what they were made of."""
    name = model.removeprefix("ft:")
    prefix = max((prefix for prefix in RULES if name.startswith(prefix)), key=len, default=None)
    return UNKNOWN if prefix is None else RULES[prefix]


def size_of(url: str) -> Size | None:
    """Width and height of the PNG, JPEG or WebP in a base64 `data:` URL; None where its header does not say."""
    prefix = DATA_URL.match(url)
    return None if prefix is None else size_in(url[prefix.end() : prefix.end() + LOOKS[-1]])


def size_in(encoded: str) -> Size | None:
    """The same of base64 alone."""
    for characters in LOOKS if encoded.startswith(JPEG) else LOOKS[:1]:
        try:
            header = base64.b64decode(encoded[: min(characters, len(encoded) // 4 * 4)], validate=True)
            width, height = _size_in_header(header) or (0, 0)
        except (binascii.Error, ValueError, struct.error, IndexError):
            continue
        if width and height:
            return width, height
    return None


def _size_in_header(header: bytes) -> Size | None:
    if header.startswith(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"):
        return struct.unpack_from(">II", header, 16)
    if header.startswith(b"\xff\xd8"):
        return _size_in_jpeg(header)
    if header.startswith(b"RIFF") and header[8:12] == b"WEBP":
        return _size_in_webp(header)
    return None  # a GIF's first frame may be larger than what its header says


def _size_in_jpeg(header: bytes) -> Size | None:
    """By the first start of frame; anything but a plain chain of segments before it says nothing."""
    position = 2
    while header[position] == 0xFF:
        marker, length = struct.unpack_from(">BH", header, position + 1)
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            height, width = struct.unpack_from(">HH", header, position + 5)
            return width, height
        if not (0xC0 <= marker <= 0xFE) or marker in {0xD8, 0xD9, 0xDA} or length < 2:
            return None
        position += 2 + length
    return None


def _size_in_webp(header: bytes) -> Size | None:
    kind = header[12:16]
    if kind == b"VP8X":
        return _one_more_than(header[24:27]), _one_more_than(header[27:30])
    if kind == b"VP8L" and header[20] == 0x2F:
        bits = int.from_bytes(header[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and header[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", header, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _one_more_than(field: bytes) -> int:
    return int.from_bytes(field, "little") + 1
