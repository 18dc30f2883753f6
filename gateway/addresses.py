"""Where an upstream may be. Pure but for `resolve`; the transport's connector asks here before it connects."""

import asyncio
import socket
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

# Global to `ipaddress`, and yet no place on the internet: translations to IPv4 (NAT64, 6to4's relays), what older
# Pythons do not know (192.0.0.0/24 has a metadata service), and the metadata service of Azure.
NOT_PUBLIC = [
    ip_network(text)
    for text in (
        "64:ff9b::/96", "64:ff9b:1::/48", "2001::/23", "3fff::/20", "5f00::/16", "fec0::/10",
        "168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24",
    )
]  # fmt: skip


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
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ForbiddenAddress(f"{url!r} has no valid host or port.") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ForbiddenAddress(f"{url!r} is no http(s) URL.")
    if "\\" in url or not url.isascii() or not url.isprintable() or " " in url:
        raise ForbiddenAddress(f"{url!r} may hold only ASCII letters, digits and signs; write other names as xn--...")
    if "@" in parts.netloc or "?" in url or "#" in url:
        raise ForbiddenAddress("The URL may hold no credentials, query or fragment; the key is entered apart.")
    if parts.scheme == "http" and not allow_private:
        raise ForbiddenAddress("Plain http is refused: use https, or allow private addresses for this upstream.")
    return Origin(parts.scheme, parts.hostname, port or {"http": 80, "https": 443}[parts.scheme], allow_private)


async def resolve(origin: Origin) -> list[str]:
    """The addresses to connect to, resolved once and checked: a name cannot change its meaning in between."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise ForbiddenAddress(f"{origin.host!r} is no host name.") from None
    addresses = [str(entry[4][0]) for entry in found]
    allowed = [address for address in addresses if origin.allow_private or is_public(address)]
    if not allowed:
        raise ForbiddenAddress(f"{origin.host} is at no public address.")
    return allowed


def is_public(address: str) -> bool:
    """Whether an address is out on the internet: not private, loopback, link-local, mapped, NAT64 or reserved."""
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address) and (parsed.ipv4_mapped or parsed.sixtofour):
        return False
    if any(parsed in network for network in NOT_PUBLIC):
        return False
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved
