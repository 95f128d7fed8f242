INSERT INTO order_lines (order_id, ticket_type_id, quantity, unit_price_minor)
SELECT x.id, CAST(l.ticket_type AS bigint), SUM(l.quantity), MAX(l.unit_price)
FROM jsonb_to_recordset(CAST(:orders AS jsonb)) AS o (code text, lines jsonb)
JOIN orders x ON x.code = o.code,
jsonb_to_recordset(o.lines) AS l (ticket_type text, quantity bigint, unit_price bigint)
GROUP BY x.id, l.ticket_type
ON CONFLICT (order_id, ticket_type_id) DO NOTHING
