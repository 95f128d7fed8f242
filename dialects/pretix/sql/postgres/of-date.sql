SELECT event_id || '_' || id AS key FROM pretixbase_subevent WHERE id = CAST(:key AS bigint)
