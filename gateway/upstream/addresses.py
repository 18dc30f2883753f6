"""Where an upstream may be. Pure but for `resolve`; the transport's connector asks here before it connects."""

import asyncio
import socket
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

NAT64 = IPv6Network("64:ff9b::/96")


class ForbiddenAddress(Exception):
    """An upstream's URL, or what its name resolves to, that is not allowed."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port of an upstream, and whether it may be on plain http or at a private address."""

    scheme: str
    host: str
    port: int
    allow_private: bool = False


def origin_of(url: str, *, allow_private: bool) -> Origin:
    """The origin of a base URL; ForbiddenAddress where the URL itself is not allowed."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        raise ForbiddenAddress(f"The port in {url!r} is no number.") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ForbiddenAddress(f"{url!r} is no http(s) URL.")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ForbiddenAddress("The URL may hold no credentials, query or fragment; the key is entered apart.")
    if parts.scheme == "http" and not allow_private:
        raise ForbiddenAddress("Plain http is refused: use https, or allow private addresses for this upstream.")
    return Origin(parts.scheme, parts.hostname, port or {"http": 80, "https": 443}[parts.scheme], allow_private)


async def resolve(origin: Origin) -> str:
    """The address to connect to, resolved once and checked, so that a name cannot change its meaning in between."""
    found = await asyncio.get_running_loop().getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        if origin.allow_private or is_public(address):
            return address
    raise ForbiddenAddress(f"{origin.host} is at no public address.")


def is_public(address: str) -> bool:
    """Whether an address is out on the internet: not private, loopback, link-local, mapped, NAT64 or reserved."""
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address) and _embeds_another(parsed):
        return False
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


def _embeds_another(address: IPv6Address) -> bool:
    return bool(address.ipv4_mapped or address.sixtofour or address.teredo or address in NAT64)
