-- Which gateway processes are gone for good, for billing/recovery/reaping.py.

-- Those whose whole host has been silent for so long. A process on a host that lives is left to its neighbours, who have
-- its spool; where they do not come to it for long, the spool is gone. One that stopped and left something open is lost.
CREATE OR REPLACE FUNCTION billing_lost_processes(seconds double precision) RETURNS SETOF uuid LANGUAGE sql STABLE AS $$
    SELECT id FROM (
        SELECT id, stopped_at, silent_seconds, min(silent_seconds) FILTER (WHERE stopped_at IS NULL)
            OVER (PARTITION BY host_id) AS host_silent_seconds
        FROM billing_process) p
    WHERE (stopped_at IS NULL AND (host_silent_seconds >= seconds OR silent_seconds >= 3 * seconds))
        OR stopped_at < now() - make_interval(secs => seconds);
$$;
