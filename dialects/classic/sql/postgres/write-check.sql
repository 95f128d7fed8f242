-- Orders that can't be written, and why.
WITH o AS (
    SELECT * FROM jsonb_to_recordset(CAST(:orders AS jsonb)) AS o (
        code text, organizer text, event text, is_new boolean, total bigint, status text, lines jsonb, tickets jsonb)
), e AS (
    SELECT o.*, e.id AS event_id
    FROM o LEFT JOIN organizers g ON g.slug = o.organizer
    LEFT JOIN events e ON e.slug = o.event AND e.organizer_id = g.id
)
SELECT code AS "order", 'there is no event ' || organizer || '/' || event AS reason FROM e WHERE event_id IS NULL
UNION ALL
SELECT e.code, 'there is no ticket type ' || l.ticket_type || ' in the event'
FROM e, jsonb_to_recordset(e.lines) AS l (ticket_type text)
WHERE e.event_id IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM ticket_types t WHERE CAST(t.id AS text) = l.ticket_type AND t.event_id = e.event_id)
UNION ALL
SELECT e.code, 'another order has this code'
FROM e JOIN orders x ON x.code = e.code
WHERE x.event_id IS DISTINCT FROM e.event_id OR x.channel <> 'onsale' OR (e.is_new AND x.total_minor <> e.total)
UNION ALL
-- One that is deleted here and cancelled there is over.
SELECT e.code, 'the order is not there'
FROM e WHERE NOT e.is_new AND e.event_id IS NOT NULL AND COALESCE(e.status, '') <> 'cancelled' AND NOT EXISTS (SELECT 1 FROM orders x WHERE x.code = e.code)
UNION ALL
SELECT e.code, 'another order has the ticket ' || k.code
FROM e, jsonb_to_recordset(e.tickets) AS k (code text)
JOIN tickets t ON t.code = k.code JOIN orders x ON x.id = t.order_id
WHERE x.code <> e.code
