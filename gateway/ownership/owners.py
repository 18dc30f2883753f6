"""The books of ownership of one process: who owns a response, and what was issued to whom.

await ownership.own(response_id, owner)   durable, or kept on our disk, before anybody hears of the id
await ownership.issue(issue)              with the settle: what the answer gave away
await ownership.owner(response_id)        None where nobody owns it
await ownership.named(question)           all that one request names, in one round trip

Repeated       the id is another project's
Unavailable    the database does not say in time
"""

import asyncio
import logging
import re
from uuid import UUID, uuid4

import msgspec

from billing import faults
from billing.connection import Refused
from billing.spool.writer import Kind, Spool, SpoolFailed
from gateway.metrics import ALARMS
from gateway.ownership.lane import Lane

logger = logging.getLogger(__name__)

OWN = "SELECT gateway_own(%s::json)::text"
NAMED = "SELECT gateway_named(%s::json)::text"
NAMEABLE = re.compile(r"[\x21-\x7e]{1,512}")  # what an id is made of; nobody can name any other


class Repeated(Exception):
    """An upstream gave an answer the id of another project's."""


class Unavailable(Exception):
    """The database did not say in time who owns what: our fault, not the caller's."""


class Owner(msgspec.Struct, frozen=True):
    """Whose a response is, which upstream has it, and which request made it."""

    organization_id: UUID
    project_id: UUID
    upstream_id: UUID
    record_id: UUID


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be written of one answer. An empty `response_id` is none."""

    organization_id: UUID
    project_id: UUID
    upstream_id: UUID
    record_id: UUID
    response_id: str = ""
    digests: tuple[int, ...] = ()
    is_deleted: bool = False


class Question(msgspec.Struct, frozen=True):
    """Who owns these responses, and to whom were these digests issued, as this project sees it?"""

    responses: tuple[str, ...] = ()
    digests: tuple[int, ...] = ()
    organization_id: UUID | None = None
    project_id: UUID | None = None


class NamedResponse(msgspec.Struct, frozen=True):
    """`tokens`: input and output together; None where that was not reported, or it is another project's."""

    response_id: str
    organization_id: UUID
    project_id: UUID
    upstream_id: UUID
    record_id: UUID
    tokens: int | None


class NamedDigest(msgspec.Struct, frozen=True):
    """`scope`: the nearest to whom it was issued: 0 the project, 1 its organization, 2 another one."""

    digest: int
    scope: int
    upstream_id: UUID


class Known(msgspec.Struct, frozen=True):
    """The answer to a Question; what nobody owns or was issued is not there."""

    responses: tuple[NamedResponse, ...] = ()
    issued: tuple[NamedDigest, ...] = ()


class Ownership:
    """Any task may call it; what was handed in is written whoever leaves."""

    def __init__(self, conninfo: str, spool: Spool, *, own_seconds: float, answer_seconds: float) -> None:
        """`own_seconds`: how long an answer waits for the database before the disk is good enough."""
        self._spool = spool
        self._own_seconds = own_seconds
        self._answer_seconds = answer_seconds
        self._writes: Lane[Claimed, bool] = Lane(conninfo, "ownership", OWN, bool)
        self._questions: Lane[Question, Known] = Lane(conninfo, "naming", NAMED, Known)

    def start(self) -> None:
        self._writes.start()
        self._questions.start()

    async def close(self, seconds: float) -> None:
        """Waits up to `seconds` until all is written; what is not, and is in the spool, is left to who replays it."""
        await self._questions.close(0)
        await self._writes.close(seconds)

    async def owner(self, response_id: str) -> Owner | None:
        """Who owns a response that was not deleted; Unavailable."""
        for found in (await self.named(Question((response_id,)))).responses:
            return Owner(found.organization_id, found.project_id, found.upstream_id, found.record_id)
        return None

    async def named(self, question: Question) -> Known:
        nameable = tuple(name for name in question.responses if NAMEABLE.fullmatch(name))
        waiter = self._questions.hand_in(msgspec.structs.replace(question, responses=nameable))
        await asyncio.wait([waiter], timeout=self._answer_seconds)
        if not waiter.done():
            waiter.cancel()
            raise Unavailable("the database hangs")
        try:
            return waiter.result()
        except (Refused, ValueError) as error:
            raise Unavailable(type(error).__name__) from error

    async def own(self, response_id: str, owner: Owner, digests: tuple[int, ...] = ()) -> None:
        """Durable in the database when it returns, or on our disk, to be written later; then nobody knows the id
        until it is. Repeated.
        """
        await self._write(_claimed(owner, response_id, digests))

    async def issue(self, owner: Owner, digests: tuple[int, ...]) -> None:
        """As `own`, without an id."""
        await self._write(_claimed(owner, "", digests))

    async def deleted(self, response_id: str, owner: Owner) -> None:
        """From now on nobody owns it, and nobody ever will."""
        await self._write(msgspec.structs.replace(_claimed(owner, response_id, ()), is_deleted=True))

    async def write_again(self, payload: bytes) -> None:
        """Writes what a process that is gone left in its spool. Returns once that is durable, however long it takes."""
        claimed = msgspec.json.decode(payload, type=Claimed)
        if not await asyncio.shield(self._writes.hand_in(claimed)):
            _alarm(claimed)

    async def _write(self, claimed: Claimed) -> None:
        if not NAMEABLE.fullmatch(claimed.response_id):
            claimed = msgspec.structs.replace(claimed, response_id="")
        if not claimed.response_id and not claimed.digests:
            return
        faults.reach("owner.before")
        waiter = self._writes.hand_in(claimed)
        await asyncio.wait([waiter], timeout=self._own_seconds)
        if not waiter.done():
            await self._keep(claimed, waiter)
        elif waiter.exception() is None and not waiter.result():
            _alarm(claimed)
            raise Repeated(claimed.response_id)
        faults.reach("owner.after")

    async def _keep(self, claimed: Claimed, waiter: asyncio.Future[bool]) -> None:
        """On our disk until the lane has it. It has an id of its own there: the request may be settled before."""
        entry_id = uuid4()

        def is_written(waiter: asyncio.Future[bool]) -> None:
            if waiter.cancelled() or waiter.exception() is not None:
                return
            if not waiter.result():
                _alarm(claimed)
            self._spool.acknowledge(entry_id)

        try:
            self._spool.append(Kind.OWNER, entry_id, msgspec.json.encode(claimed))
            waiter.add_done_callback(is_written)
            await self._spool.sync()
        except SpoolFailed as error:  # the lane still has it; should this process die too, nobody knows the id
            ALARMS.labels(reason="owner_not_kept").inc()
            logger.error("the owner of the answer to %s is not on disk: %s", claimed.record_id, error)


def _claimed(owner: Owner, response_id: str, digests: tuple[int, ...]) -> Claimed:
    return Claimed(
        organization_id=owner.organization_id,
        project_id=owner.project_id,
        upstream_id=owner.upstream_id,
        record_id=owner.record_id,
        response_id=response_id,
        digests=digests,
    )


def _alarm(claimed: Claimed) -> None:
    ALARMS.labels(reason="response_id_repeated").inc()
    logger.error("the answer to %s has the id of another project's response", claimed.record_id)
