-- The orders of the engine that are there.
SELECT x.code AS "order", x.status, x.total_minor AS total,
       (SELECT group_concat(code, ',') FROM (SELECT code FROM tickets t WHERE t.order_id = x.id ORDER BY code)) AS tickets
FROM orders x
WHERE x.channel = 'onsale' AND x.event_id = CAST(:event AS integer)
