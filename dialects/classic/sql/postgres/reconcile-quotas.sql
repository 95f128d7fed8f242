-- Each stock: what the engine's orders have of it, what others have, what is blocked for the engine, and the counter.
SELECT CAST(s.id AS text) AS quota, s.capacity, s.blocked, s.sold AS counted,
       CAST(COALESCE(SUM(l.quantity) FILTER (WHERE x.channel = 'onsale'), 0) AS bigint) AS engine,
       CAST(COALESCE(SUM(l.quantity) FILTER (WHERE x.channel <> 'onsale'), 0) AS bigint) AS others
FROM stocks s
LEFT JOIN ticket_types t ON t.stock_id = s.id
LEFT JOIN order_lines l ON l.ticket_type_id = t.id
    AND EXISTS (SELECT 1 FROM orders y WHERE y.id = l.order_id AND y.status <> 'cancelled')
LEFT JOIN orders x ON x.id = l.order_id
WHERE s.event_id = CAST(:event AS bigint)
GROUP BY s.id
ORDER BY s.id
