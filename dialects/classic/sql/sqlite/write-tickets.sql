INSERT INTO tickets (order_id, ticket_type_id, code)
SELECT x.id, CAST(k.value ->> 'ticket_type' AS integer), k.value ->> 'code'
FROM json_each(:orders) o JOIN orders x ON x.code = o.value ->> 'code', json_each(o.value, '$.tickets') k
WHERE TRUE
ON CONFLICT (code) DO NOTHING
