INSERT INTO order_lines (order_id, ticket_type_id, quantity, unit_price_minor)
SELECT x.id, CAST(l.value ->> 'ticket_type' AS integer), SUM(l.value ->> 'quantity'), MAX(l.value ->> 'unit_price')
FROM json_each(:orders) o JOIN orders x ON x.code = o.value ->> 'code', json_each(o.value, '$.lines') l
WHERE TRUE
GROUP BY x.id, l.value ->> 'ticket_type'
ON CONFLICT (order_id, ticket_type_id) DO NOTHING
