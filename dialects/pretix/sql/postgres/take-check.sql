-- What must be otherwise before the engine takes an event over. Closing is how the taking itself stops the sale here.
SELECT 'the quota ' || q.name || ' (' || q.id || ') ' || why.text AS why, why.way_out
FROM pretixbase_quota q, LATERAL (VALUES
    (q.closed, 'is closed', 'Open it, or take its products off it: what it has left would be sold by the engine.'),
    (q.close_when_sold_out, 'closes when it is sold out', 'Switch that off: pretix would close it by itself.'),
    (q.release_after_exit, 'sells a place again when somebody leaves', 'Switch that off: the engine does not see who leaves.')
) AS why (is_so, text, way_out)
WHERE why.is_so AND q.event_id = CAST(split_part(:event, '_', 1) AS bigint)
  AND q.subevent_id IS NOT DISTINCT FROM CAST(NULLIF(split_part(:event, '_', 2), '') AS bigint)
ORDER BY q.id
