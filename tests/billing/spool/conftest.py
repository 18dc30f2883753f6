from uuid import uuid4

import pytest

from billing.spool.writer import Spool


@pytest.fixture
async def spool(tmp_path):
    spool = Spool(tmp_path, uuid4(), segment_bytes=4096, max_bytes=8 * 4096)
    yield spool
    await spool.close()
