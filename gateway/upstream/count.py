"""The upstream's own count of a request's input: free, and the one call that is made before a hold (money.md)."""

import asyncio
import logging
from uuid import UUID

import msgspec
from msgspec import UNSET, Raw, UnsetType
from msgspec.structs import replace

from billing.prices.tokens import MOST_TOKENS
from gateway.catalog import RouteFacts
from gateway.upstream.exchange import Call, start
from gateway.upstream.failures import UpstreamFailed
from gateway.upstream.transport import UpstreamTransport
from gateway.upstream.unbilled import Rooms, TooManyAtOnce
from gateway.wire.objects import object_in

logger = logging.getLogger(__name__)

PATH = "/responses/input_tokens"
MOST_ANSWER_BYTES = 64 * 1024
COUNT_SECONDS = 2.0
AT_ONCE = 4


class CountedFields(msgspec.Struct, omit_defaults=True):
    """The fields of a create request that the count takes; with any other it is refused."""

    model: Raw | UnsetType = UNSET
    input: Raw | UnsetType = UNSET
    instructions: Raw | UnsetType = UNSET
    tools: Raw | UnsetType = UNSET
    tool_choice: Raw | UnsetType = UNSET
    parallel_tool_calls: Raw | UnsetType = UNSET
    text: Raw | UnsetType = UNSET
    reasoning: Raw | UnsetType = UNSET
    personality: Raw | UnsetType = UNSET
    truncation: Raw | UnsetType = UNSET
    previous_response_id: Raw | UnsetType = UNSET
    conversation: Raw | UnsetType = UNSET


class Counts:
    """The counts of one process: few at once for an organization, so that nobody has upstreams count for the sport."""

    def __init__(self, transport: UpstreamTransport, seconds: float) -> None:
        self._transport = transport
        self._seconds = seconds
        self._rooms = Rooms(AT_ONCE)

    async def count(self, organization_id: UUID, route: RouteFacts, call: Call) -> int | None:
        """As `count_input_tokens`; None too where the organization has enough of them under way."""
        try:
            with self._rooms.taken(organization_id):
                return await count_input_tokens(self._transport, route, call, seconds=self._seconds)
        except TooManyAtOnce:
            return None


async def count_input_tokens(
    transport: UpstreamTransport, route: RouteFacts, call: Call, *, seconds: float = COUNT_SECONDS
) -> int | None:
    """The upstream's count of the input of `call`, a create request; None where it does not say within `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            exchange = await start(transport, route, _count_of(call))
            try:
                answer = object_in(await exchange.read(MOST_ANSWER_BYTES)) or {}
            finally:
                exchange.close()
    except (UpstreamFailed, TimeoutError, msgspec.MsgspecError) as error:
        logger.warning("upstream %s did not count a request (%s)", route.upstream.name, type(error).__name__)
        return None
    tokens = answer.get("input_tokens")
    return tokens if type(tokens) is int and 0 < tokens <= MOST_TOKENS else None


def _count_of(call: Call) -> Call:
    fields = _decoder.decode(call.body)
    return replace(call, path=PATH, body=msgspec.json.encode(fields), stream=False)


_decoder = msgspec.json.Decoder(CountedFields)
