-- The stock that an order's tickets were of.
SELECT CAST(t.stock_id AS text) AS quota, CAST(SUM(l.quantity) AS bigint) AS quantity, CAST(o.event_id AS text) AS key
FROM orders o JOIN order_lines l ON l.order_id = o.id JOIN ticket_types t ON t.id = l.ticket_type_id
WHERE o.code = :order
GROUP BY t.stock_id, o.event_id
ORDER BY t.stock_id
