"""The books of ownership of one process: who owns a response, and what was issued to whom.

await ownership.own(response_id, owner)   durable, or kept on our disk, before anybody hears of the id
await ownership.issue(issue)              with the settle: what the answer gave away
await ownership.owned(response_id, project_id)    None where it is not the project's
await ownership.named(question)           all that one request names, in one round trip

Repeated       the id is another project's
NotKept        neither the database nor our disk takes it
Unavailable    the database does not say in time
"""

import asyncio
import logging
import re
from uuid import UUID, uuid4

import msgspec

from billing import faults
from billing.metering.connection import Refused
from billing.spool.writer import Kind, Spool, SpoolFailed
from gateway.metrics import ALARMS
from gateway.ownership.lane import Lane
from gateway.upstream.failures import NotKept, Repeated

logger = logging.getLogger(__name__)

OWN = "SELECT gateway_own(%s::json)::text"
NAMED = "SELECT gateway_named(%s::json)::text"
LARGE = 256  # names: what has more takes turns with others like it, organization by organization
NAMEABLE = re.compile(r"[\x21-\x7e]{1,512}")  # what an id is made of; nobody can name any other


class Unavailable(Exception):
    """The database did not say in time who owns what: our fault, not the caller's."""


class Owner(msgspec.Struct, frozen=True):
    """Whose a response is, which upstream has it, and which request made it."""

    organization_id: UUID
    project_id: UUID
    upstream_id: UUID
    record_id: UUID


class Claimed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is to be written of one answer. An empty `response_id` is none, and is not even said."""

    organization_id: UUID
    project_id: UUID
    upstream_id: UUID
    record_id: UUID
    response_id: str = ""
    digests: tuple[int, ...] = ()
    is_deleted: bool = False

    @property
    def is_large(self) -> bool:
        return len(self.digests) > LARGE


class Question(msgspec.Struct, frozen=True):
    """Which of these responses are this project's, and to whom were these digests issued, as it sees it?"""

    project_id: UUID
    responses: tuple[str, ...] = ()
    digests: tuple[int, ...] = ()
    organization_id: UUID | None = None

    @property
    def is_large(self) -> bool:
        return len(self.responses) + len(self.digests) > LARGE


class NamedResponse(msgspec.Struct, frozen=True):
    """`tokens`: input and output together; None where that was not reported."""

    response_id: str
    organization_id: UUID
    project_id: UUID
    upstream_id: UUID
    record_id: UUID
    tokens: int | None


class NamedDigest(msgspec.Struct, frozen=True):
    """What an upstream issued. `scope`: the nearest to whom: 0 the project, 1 its organization, 2 another one.
    `is_own`: the project was the first.
    """

    digest: int
    upstream_id: UUID
    scope: int
    is_own: bool


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

    async def owned(self, response_id: str, project_id: UUID) -> Owner | None:
        """The project's response of that id, unless it was deleted; the first where two upstreams gave it."""
        for found in (await self.named(Question(project_id, (response_id,)))).responses:
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

    async def own(self, response_id: str, owner: Owner) -> None:
        """Durable in the database when it returns, or on our disk, to be written later; then nobody knows the id
        until it is. Repeated, NotKept.
        """
        await self.begin(owner, response_id).durable()

    async def deleted(self, response_id: str, owner: Owner) -> None:
        """From now on nobody owns it, and nobody ever will."""
        await self._handed_in(_claimed(owner, response_id, (), is_deleted=True)).durable()

    def begin(self, owner: Owner, response_id: str = "", digests: tuple[int, ...] = ()) -> "Write":
        """Hands in that the response is the owner's, and what was issued with it; no id owns nothing."""
        return self._handed_in(_claimed(owner, response_id, digests))

    async def write_again(self, payload: bytes) -> None:
        """Writes what a process that is gone left in its spool. Returns once that is durable, however long it takes."""
        try:
            claimed = msgspec.json.decode(payload, type=Claimed)
            if not await asyncio.shield(self._writes.hand_in(claimed)):
                _alarm(claimed)
        except (Refused, ValueError) as error:  # one that cannot be written keeps no other; nobody knows its id
            logger.error("an owner in a spool cannot be written: %s", error)

    def _handed_in(self, claimed: Claimed) -> "Write":
        return Write(claimed, self._writes.hand_in(claimed), self._spool, self._own_seconds)


class Write:
    """What is on its way into the books, whoever waits for it."""

    def __init__(self, claimed: Claimed, waiter: asyncio.Future[bool], spool: Spool, seconds: float) -> None:
        self._claimed = claimed
        self._waiter = waiter
        self._spool = spool
        self._until = asyncio.get_running_loop().time() + seconds

    async def durable(self) -> None:
        """Returns once it outlives whatever dies. Repeated; NotKept where it names a response."""
        faults.reach("owner.before")
        if not self._waiter.done():
            await asyncio.wait([self._waiter], timeout=self._until - asyncio.get_running_loop().time())
        if not self._waiter.done():
            await self._keep()
        elif self._waiter.exception() is not None:
            self._not_kept("the database refuses it")
        elif not self._waiter.result():
            _alarm(self._claimed)
            raise Repeated(f"the response id of another project's answer on request {self._claimed.record_id}")
        faults.reach("owner.after")

    async def _keep(self) -> None:
        """On our disk until the lane has it. It has an id of its own there: the request may be settled before."""
        entry_id = uuid4()
        try:
            self._spool.append(Kind.OWNER, entry_id, msgspec.json.encode(self._claimed))
            self._waiter.add_done_callback(lambda waiter: self._is_known(waiter, entry_id))
            await self._spool.sync()
        except SpoolFailed as error:
            self._not_kept(str(error))

    def _not_kept(self, reason: str) -> None:
        """What was issued is unknown then, no more; but an id that nobody owns may not leave."""
        ALARMS.labels(reason="owner_not_kept").inc()
        logger.error("whose the answer to %s is cannot be kept: %s", self._claimed.record_id, reason)
        if self._claimed.response_id:
            raise NotKept(f"the owner of the answer to {self._claimed.record_id}")

    def _is_known(self, waiter: asyncio.Future[bool], entry_id: UUID) -> None:
        if waiter.cancelled() or waiter.exception() is not None:
            return
        if not waiter.result():
            _alarm(self._claimed)
        self._spool.acknowledge(entry_id)


def _claimed(owner: Owner, response_id: str, digests: tuple[int, ...], *, is_deleted: bool = False) -> Claimed:
    return Claimed(
        organization_id=owner.organization_id,
        project_id=owner.project_id,
        upstream_id=owner.upstream_id,
        record_id=owner.record_id,
        response_id=response_id if NAMEABLE.fullmatch(response_id) else "",
        digests=digests,
        is_deleted=is_deleted,
    )


def _alarm(claimed: Claimed) -> None:
    ALARMS.labels(reason="response_id_repeated").inc()
    logger.error("the answer to %s has the id of another project's response", claimed.record_id)
