-- Orders that can't be written, and why.
WITH e AS (
    SELECT o.value ->> 'code' AS code, o.value ->> 'organizer' AS organizer, o.value ->> 'event' AS event,
           o.value ->> 'is_new' AS is_new, o.value ->> 'status' AS status, o.value ->> 'total' AS total, o.value -> 'lines' AS lines,
           o.value -> 'tickets' AS tickets, e.id AS event_id
    FROM json_each(:orders) o LEFT JOIN organizers g ON g.slug = o.value ->> 'organizer'
    LEFT JOIN events e ON e.slug = o.value ->> 'event' AND e.organizer_id = g.id
)
SELECT code AS "order", 'there is no event ' || organizer || '/' || event AS reason FROM e WHERE event_id IS NULL
UNION ALL
SELECT e.code, 'there is no ticket type ' || (l.value ->> 'ticket_type') || ' in the event'
FROM e, json_each(e.lines) l
WHERE e.event_id IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM ticket_types t WHERE t.id = CAST(l.value ->> 'ticket_type' AS integer) AND t.event_id = e.event_id)
UNION ALL
SELECT e.code, 'another order has this code'
FROM e JOIN orders x ON x.code = e.code
WHERE x.event_id IS NOT e.event_id OR x.channel <> 'onsale' OR (e.is_new AND x.total_minor <> e.total)
UNION ALL
-- One that is deleted here and cancelled there is over.
SELECT e.code, 'the order is not there'
FROM e WHERE NOT e.is_new AND e.event_id IS NOT NULL AND COALESCE(e.status, '') <> 'cancelled' AND NOT EXISTS (SELECT 1 FROM orders x WHERE x.code = e.code)
UNION ALL
SELECT e.code, 'another order has the ticket ' || (k.value ->> 'code')
FROM e, json_each(e.tickets) k
JOIN tickets t ON t.code = k.value ->> 'code' JOIN orders x ON x.id = t.order_id
WHERE x.code <> e.code
