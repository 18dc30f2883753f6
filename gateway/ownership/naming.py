"""May this request name what it names? Whatever is not known to be the tenant's is answered as if it did not exist.

What is unknown and what is somebody else's get the same answer, byte for byte, after the same work.
"""

from collections.abc import Collection, Container, Mapping, Sequence
from uuid import UUID

from accounts.authentication import KeyFacts
from gateway.catalog import UpstreamFacts
from gateway.ownership.owners import Known, NamedDigest, NamedResponse, Ownership, Question
from gateway.wire.references import TAGS, Kind, Reference, digest_of
from gateway.wire.request import CreateRequest, InvalidRequest

LONGEST_SHOWN = 512
SOMEBODY_ELSE = 2  # NamedDigest.scope
PREVIOUS = "previous_response_id"
CARRIED_ALONG = {Kind.CARRIED, Kind.CONTENT, Kind.CITED}  # with what they name: free, unless known to be another's


def refuse_unsupported(request: CreateRequest) -> None:
    """InvalidRequest, naming the parameter, where the request makes what is not served here."""
    if request.background:
        raise InvalidRequest("Background responses are not supported yet.", param="background", code="invalid_value")
    if request.conversation is not None:
        message = "Conversations are not supported. Continue a response with 'previous_response_id'."
        raise InvalidRequest(message, param="conversation", code="invalid_value")


async def known_of(references: Sequence[Reference], key: KeyFacts, ownership: Ownership) -> "Named":
    """What a request names, and what is known of that: one round trip, none where it names nothing. Unavailable."""
    responses = {reference.id: None for reference in references if reference.kind is Kind.RESPONSE}
    digests = {(each.kind, each.id): digest_of(each.kind, each.id) for each in references if each.kind in TAGS}
    known = Known()
    if responses or digests:
        question = Question(key.project_id, tuple(responses), tuple(set(digests.values())), key.organization_id)
        known = await ownership.named(question)
    return Named(references, known, key, digests)


class Named:
    """What one request names, and what is known of that.

    `digests`: of all that may have been issued, made once: an encrypted content may be as long as a body.
    """

    def __init__(
        self, references: Sequence[Reference], known: Known, key: KeyFacts, digests: Mapping[tuple[Kind, str], int]
    ) -> None:
        self.digests: Container[int] = frozenset(digests.values())
        self._digests = digests
        self._references = references
        self._organization_id = key.organization_id
        self._responses: dict[str, list[NamedResponse]] = {}
        for response in known.responses:
            self._responses.setdefault(response.response_id, []).append(response)
        self._issued: dict[int, list[NamedDigest]] = {}
        for found in known.issued:
            self._issued.setdefault(found.digest, []).append(found)

    @property
    def upstream_id(self) -> UUID | None:
        """Where the request must go: the upstream that has what it names, most of it where none has all. None: wherever
        its model is served.
        """
        if not self._references:
            return None
        places = dict.fromkeys(place for each in self._references for place in self._places_of(each))
        return max(
            places, key=lambda place: sum(self._is_known(each, place) for each in self._references), default=None
        )

    @property
    def previous_tokens(self) -> int | None:
        """Input and output of the response that is continued; None where that is not known."""
        named = (each.id for each in self._references if each.field == PREVIOUS)
        found = (response for name in named for response in self._responses.get(name, ()))
        upstream_id = self.upstream_id
        return next((response.tokens for response in found if response.upstream_id == upstream_id), None)

    def check(self, upstream: UpstreamFacts, harmless: Collection[str]) -> None:
        """InvalidRequest where something is named that may not be, at the upstream where the request would go.

        `harmless`: names of fields that staff allowed.
        """
        for reference in self._references:
            if not self._is_allowed(reference, upstream, harmless):
                raise _refusal(reference)

    def _is_allowed(self, reference: Reference, upstream: UpstreamFacts, harmless: Collection[str]) -> bool:
        if self._is_known(reference, upstream.id):
            return True
        if reference.kind in {Kind.RESPONSE, Kind.ITEM} or (reference.kind in CARRIED_ALONG and reference.id):
            return False
        is_of_ones_own = upstream.organization_id == self._organization_id
        return is_of_ones_own or (reference.kind is Kind.UNKNOWN and reference.field in harmless)

    def _is_known(self, reference: Reference, upstream_id: UUID) -> bool:
        """By what that upstream issued alone: what another calls the same, its answers may say as they please."""
        if reference.kind is Kind.RESPONSE:
            return upstream_id in self._places_of(reference)
        issued = next((found for found in self._issued_of(reference) if found.upstream_id == upstream_id), None)
        if reference.kind in CARRIED_ALONG and reference.id:
            return issued is None or issued.scope != SOMEBODY_ELSE
        return issued is not None and issued.is_own

    def _places_of(self, reference: Reference) -> list[UUID]:
        """The upstreams that keep it for this project."""
        if reference.kind is Kind.RESPONSE:
            return [found.upstream_id for found in self._responses.get(reference.id, ())]
        if reference.kind is Kind.ITEM:
            return [found.upstream_id for found in self._issued_of(reference) if found.is_own]
        return []

    def _issued_of(self, reference: Reference) -> list[NamedDigest]:
        """By upstream, the latest first."""
        digest = self._digests.get((reference.kind, reference.id))
        return [] if digest is None else self._issued.get(digest, [])


def _refusal(reference: Reference) -> InvalidRequest:
    shown, param = reference.id[:LONGEST_SHOWN], reference.param
    if reference.kind is Kind.RESPONSE:
        message = f"Previous response with id '{shown}' not found."
        return InvalidRequest(message, param=param, code="previous_response_not_found")
    if reference.kind in {Kind.ITEM, Kind.CARRIED}:
        return InvalidRequest(f"Item with id '{shown}' not found.", param=param)
    if reference.kind is Kind.CONTENT:
        message = "The encrypted content could not be verified."
        return InvalidRequest(message, param=param, code="invalid_encrypted_content")
    if reference.kind is Kind.UNKNOWN:
        message = (
            f"'{param}' may name a stored object and is not known here. The gateway's administrators can allow it."
        )
        return InvalidRequest(message, param=param, code="unknown_parameter")
    message = f"'{param}' names a stored object that is not known to be yours, so it cannot be used here."
    return InvalidRequest(message, param=param, code="invalid_value")
