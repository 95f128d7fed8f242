-- An event, and the dates of a series.
SELECT CAST(:key AS text) AS key
UNION ALL
SELECT event_id || '_' || id FROM pretixbase_subevent WHERE event_id = CAST(:key AS bigint)
