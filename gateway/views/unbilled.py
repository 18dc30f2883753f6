"""An answer that is relayed and in no books: for whoever it is made, few at once."""

from django.conf import settings

from accounts.authentication import KeyFacts
from gateway.dataplane import Client, RelayedAnswer
from gateway.upstream.relay import Begin, Drains, Relay
from gateway.upstream.unbilled import Rooms, Unbilled


def unbilled(rooms: Rooms, key: KeyFacts, begin: Begin) -> RelayedAnswer:
    """What `begin` begins, relayed while the client is there. It ends with TooManyAtOnce where there is no room."""

    async def run(client: Client) -> None:
        with rooms.taken(key.organization_id):
            nobody_reads_on = Drains(seconds=0, output_tokens=0, most=0)
            await Relay(Unbilled(), nobody_reads_on, settings.MAX_EVENT_BYTES).run(begin, client)

    return RelayedAnswer(run)
