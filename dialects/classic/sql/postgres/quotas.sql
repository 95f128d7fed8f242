-- A stock that no ticket type draws on sells nothing.
SELECT CAST(s.id AS text) AS quota, s.capacity
FROM stocks s
WHERE s.event_id = CAST(:event AS bigint) AND EXISTS (SELECT 1 FROM ticket_types t WHERE t.stock_id = s.id)
ORDER BY s.id
