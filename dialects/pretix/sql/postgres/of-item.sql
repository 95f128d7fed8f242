SELECT i.event_id || COALESCE('_' || s.id, '') AS key
FROM pretixbase_item i LEFT JOIN pretixbase_subevent s ON s.event_id = i.event_id
WHERE i.id = CAST(:key AS bigint)
