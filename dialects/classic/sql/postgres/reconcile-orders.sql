-- The orders of the engine that are there.
SELECT x.code AS "order", x.status, x.total_minor AS total,
       (SELECT string_agg(t.code, ',' ORDER BY t.code COLLATE "C") FROM tickets t WHERE t.order_id = x.id) AS tickets
FROM orders x JOIN events e ON e.id = x.event_id
WHERE x.channel = 'onsale' AND e.id = CAST(:event AS bigint)
