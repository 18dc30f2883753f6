"""What one answer makes its project's: its id, before any byte of it leaves; and with its end what it gave away."""

from billing.record import Hold
from gateway.ownership.owners import Owner, Ownership, Write
from gateway.wire.references import digest_of, issued_in


class Claim:
    """Of one answer. An answer that the upstream does not store has no owner; what it issued is kept all the same."""

    def __init__(self, ownership: Ownership, owner: Owner, *, is_stored: bool) -> None:
        self._ownership = ownership
        self._owner = owner
        self._is_stored = is_stored
        self._is_owned = False

    def opened(self, response_id: str) -> Write | None:
        """The id is about to leave. None where there is nothing to keep."""
        if not self._is_stored or self._is_owned:
            return None
        self._is_owned = True
        return self._ownership.begin(self._owner, response_id)

    def ended(self, response_id: str, output: object) -> Write | None:
        """The whole answer is about to leave; `output`: its items, as they came."""
        digests = tuple({digest_of(kind, name): None for kind, name in issued_in(output)})
        response_id = response_id if self._is_stored and not self._is_owned else ""
        self._is_owned = self._is_stored
        return self._ownership.begin(self._owner, response_id, digests) if response_id or digests else None


def owner_of(hold: Hold) -> Owner:
    """Whose the answer to this request will be."""
    return Owner(hold.organization_id, hold.project_id, hold.upstream_id, hold.id)
