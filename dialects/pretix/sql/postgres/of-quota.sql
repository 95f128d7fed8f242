SELECT event_id || COALESCE('_' || subevent_id, '') AS key FROM pretixbase_quota WHERE id = CAST(:key AS bigint)
