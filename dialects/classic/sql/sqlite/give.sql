UPDATE stocks SET blocked = blocked - :amount
WHERE id = :quota AND event_id = :event AND blocked >= :amount
