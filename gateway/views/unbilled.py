"""An answer that is relayed and in no books: for whoever it is made, few at once."""

from accounts.authentication import KeyFacts
from gateway.client import Client
from gateway.request import RelayedAnswer, Request
from gateway.upstream.relay import Begin, Drains, Relay
from gateway.upstream.unbilled import Rooms, Unbilled

NOBODY_READS_ON = Drains(seconds=0, output_tokens=0, most=0)


def unbilled(
    request: Request, rooms: Rooms, key: KeyFacts, begin: Begin, drains: Drains = NOBODY_READS_ON
) -> RelayedAnswer:
    """What `begin` begins, relayed; `drains` says what becomes of it when the client leaves. TooManyAtOnce."""

    async def run(client: Client) -> None:
        with rooms.taken(key.organization_id):
            relay = Relay(Unbilled(), drains, request.runtime.max_event_bytes, request.runtime.keepalive_seconds)
            await relay.run(begin, client)

    return RelayedAnswer(run)
