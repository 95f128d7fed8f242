UPDATE stocks SET blocked = blocked - :amount
WHERE id = CAST(:quota AS bigint) AND event_id = CAST(:event AS bigint) AND blocked >= :amount
