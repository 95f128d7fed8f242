SELECT e.id || COALESCE('_' || s.id, '') AS key
FROM pretixbase_event e LEFT JOIN pretixbase_subevent s ON s.event_id = e.id
WHERE e.organizer_id = CAST(:key AS bigint)
