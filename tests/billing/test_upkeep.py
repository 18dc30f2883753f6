"""What a process does for the books beside its requests: its look at what is open in its name."""

import uuid

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from billing.recovery.upkeep import OPEN, Upkeep
from tests.billing.books import settled

pytestmark = pytest.mark.usefixtures("quiet_loop")


@pytest.fixture
async def audit(books, meter):
    """One audit of that process; what `meanwhile` does happens when the database has answered and nobody knows yet."""

    async def look(process_id, meanwhile=None):
        class Slow(psycopg.AsyncConnection):
            async def execute(self, statement, *rest, **options):
                answer = await super().execute(statement, *rest, **options)
                if statement == OPEN and meanwhile:
                    await meanwhile()
                return answer

        async with AsyncConnectionPool(
            books.url, min_size=1, kwargs={"autocommit": True}, connection_class=Slow
        ) as pool:
            await Upkeep(process_id, uuid.uuid4(), pool, meter, None)._audit(0)

    return look


async def test_what_ends_while_the_audit_looks_is_no_ghost(audit, meter, books, caplog):
    process_id = uuid.uuid4()
    hold = books.hold(process_id=process_id)
    await meter.hold(hold)
    await audit(process_id, lambda: meter.settle(settled(hold, 40)))
    assert "not here" not in caplog.text
    assert books.record(hold)["cost_nano_usd"] == 40


async def test_what_is_open_in_the_database_alone_is_voided(audit, meter, books, caplog):
    process_id = uuid.uuid4()
    ghost, mine = (books.hold(process_id=process_id) for _ in range(2))
    books.write([ghost])
    await meter.hold(mine)
    await audit(process_id)
    assert f"record {ghost.id} is open in the database and not here" in caplog.text
    assert str(mine.id) not in caplog.text
    await meter.close(5)
    assert books.states() == {"void": 1, "pending": 1}
