INSERT INTO tickets (order_id, ticket_type_id, code)
SELECT x.id, CAST(k.ticket_type AS bigint), k.code
FROM jsonb_to_recordset(CAST(:orders AS jsonb)) AS o (code text, tickets jsonb)
JOIN orders x ON x.code = o.code,
jsonb_to_recordset(o.tickets) AS k (ticket_type text, code text)
ON CONFLICT (code) DO NOTHING
