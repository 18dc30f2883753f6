"""POST /v1/responses/compact: the user's messages, and in one opaque item what else was said."""

import time
from typing import Any

from gateway.local.simulator.identity import random_id
from gateway.local.simulator.input_list import Item
from gateway.local.simulator.reply import Reply
from gateway.local.simulator.sealing import seal
from gateway.local.simulator.usages import ABSENT

TOKENS_READ_PER_TOKEN = 4


def compacted(reply: Reply, items: list[Item]) -> dict[str, Any]:
    """Writes a token for every four that it reads, rounded up. `reply` counts and reports them."""
    reply.said = -(-reply.read // TOKENS_READ_PER_TOKEN)
    kept = [item for item in items if item.get("role") == "user"]
    sealed = {"id": random_id("cmp"), "type": "compaction", "encrypted_content": seal(reply.key)}
    answer = {
        "id": reply.id,
        "object": "response.compaction",
        "created_at": int(time.time()),
        "output": [*kept, sealed],
    }
    usage = reply.reported_usage()
    return answer if usage is ABSENT else answer | {"usage": usage}
