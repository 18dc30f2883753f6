"""Whether a key may be used, decided from facts. Pure: the gateway's snapshot and the management API both call it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from uuid import UUID

from accounts.policy import DEFAULT, Policy


class Refusal(StrEnum):
    """Why a key is refused; the words are what refusals are counted by."""

    MISSING = "missing_key"
    UNKNOWN = "unknown_key"
    REVOKED = "revoked_key"
    EXPIRED = "expired_key"
    SUSPENDED = "suspended"
    ADDRESS = "address_not_allowed"
    SCOPE = "endpoint_not_allowed"


class Scope(StrEnum):
    """What a key may be allowed to do, as its `allowed_endpoints` name it."""

    RESPONSES = "responses"  # make, count, compact, cancel and delete
    READ = "responses.read"
    MODELS = "models"


class KeyRefused(Exception):
    """The request's key may not be used. `shown` is what of the key may be repeated, or the scope that it lacks."""

    def __init__(self, refusal: Refusal, shown: str = "") -> None:
        super().__init__(refusal)
        self.refusal = refusal
        self.shown = shown


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """All that is known of a key when it is used. Times are aware; None = never.

    `hard_metrics`: which of cost and tokens a hard quota of the key, its project or its organization bounds.
    """

    id: UUID
    name: str
    hint: str
    project_id: UUID
    project: str
    organization_id: UUID
    organization: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    suspended_at: datetime | None = None
    allowed_models: tuple[str, ...] = ()
    allowed_endpoints: tuple[str, ...] = ()
    allowed_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    hard_metrics: frozenset[str] = frozenset()
    policy: Policy = DEFAULT


def check(facts: KeyFacts, *, address: str, scope: Scope | None, now: datetime) -> Refusal | None:
    """None when the key may use `scope` (None: no matter which) from `address` at `now`. Empty lists allow everything.

    `suspended_at` is the organization's or the project's, whichever is set.
    """
    if facts.revoked_at is not None and facts.revoked_at <= now:
        return Refusal.REVOKED
    if facts.expires_at is not None and facts.expires_at <= now:
        return Refusal.EXPIRED
    if facts.suspended_at is not None and facts.suspended_at <= now:
        return Refusal.SUSPENDED
    if facts.allowed_networks and not _is_within(address, facts.allowed_networks):
        return Refusal.ADDRESS
    if scope is not None and facts.allowed_endpoints and scope not in facts.allowed_endpoints:
        return Refusal.SCOPE
    return None


def bearer(header: str | None) -> str:
    """The key in an Authorization header: `Bearer` in any case, extra spaces allowed; refused as missing otherwise."""
    scheme, _, key = (header or "").strip().partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise KeyRefused(Refusal.MISSING)
    return key.strip()


def masked(key: str) -> str:
    """What of an unknown key may be repeated: its first 5 and last 4 characters, and less of a short one."""
    return f"{key[:5]}***{key[-4:]}" if len(key) >= 20 else f"{key[:2]}***"


def _is_within(address: str, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    try:
        caller = ip_address(address)
    except ValueError:
        return False  # a unix socket or a malformed peer is in no network
    if isinstance(caller, IPv6Address) and caller.ipv4_mapped:
        caller = caller.ipv4_mapped  # an IPv4 caller, as a dual-stack socket names it
    return any(caller in network for network in networks)
