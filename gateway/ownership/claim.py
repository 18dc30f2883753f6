"""What one answer makes its project's: its id, before any byte of it leaves; and with its end what it gave away."""

from collections.abc import Collection, Container, Iterable

from billing.record import Hold
from gateway.ownership.owners import Owner, Ownership, Write


class Claim:
    """Of one answer. An answer that the upstream does not store has no owner; what it issued is kept all the same.

    `named`: digests of what the request named. An upstream that repeats them has not given them away.
    """

    def __init__(
        self, ownership: Ownership, owner: Owner, *, is_stored: bool, named: Container[int] = frozenset()
    ) -> None:
        self._ownership = ownership
        self._owner = owner
        self._is_stored = is_stored
        self._named = named
        self._owned: set[str] = set()
        self._is_ended = False

    def opened(self, response_ids: Collection[str]) -> list[Write]:
        """These ids are about to leave: nearly always one. Empty where there is nothing to keep."""
        if not self._is_stored or len(response_ids) == len(self._owned):
            return []
        new = [name for name in response_ids if name not in self._owned]
        self._owned.update(new)
        return [self._ownership.begin(self._owner, name) for name in new]

    def ended(self, response_id: str, issued: Iterable[int]) -> Write | None:
        """No more will come; `issued`: digests of what the answer gave away."""
        if self._is_ended:
            return None
        self._is_ended = True
        digests = tuple(digest for digest in issued if digest not in self._named)
        response_id = response_id if self._is_stored and response_id not in self._owned else ""
        return self._ownership.begin(self._owner, response_id, digests) if response_id or digests else None


def owner_of(hold: Hold) -> Owner:
    """Whose the answer to this request will be."""
    return Owner(hold.organization_id, hold.project_id, hold.upstream_id, hold.id)
