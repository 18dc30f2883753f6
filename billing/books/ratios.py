"""How many tokens a model makes of a byte of input and of a delta of output: measured on what it reported lately."""

from django.db import connection

NEWEST = 50_000  # records that are looked at
LEAST = 20  # of a model, before its ratio says anything
MEASURE = """
INSERT INTO billing_modelratio (model, request_bytes, input_tokens, delta_events, output_tokens, measured_at)
SELECT model, sum(request_bytes), sum(input_tokens), sum(delta_events), sum(output_tokens), now()
FROM (
    SELECT model, usage_source, request_bytes, input_tokens, delta_events, output_tokens
    FROM billing_usagerecord ORDER BY id DESC LIMIT %s) newest
WHERE billing_is_truth(usage_source) AND delta_events > 0 AND input_tokens > 0 AND output_tokens > 0
GROUP BY model HAVING count(*) >= %s
ON CONFLICT (model) DO UPDATE SET request_bytes = excluded.request_bytes, input_tokens = excluded.input_tokens,
    delta_events = excluded.delta_events, output_tokens = excluded.output_tokens, measured_at = excluded.measured_at
"""


def measure() -> int:
    """Measures every model that was used lately; returns how many. Gateways see it with their next snapshot."""
    with connection.cursor() as cursor:
        cursor.execute(MEASURE, [NEWEST, LEAST])
        return int(cursor.rowcount)
