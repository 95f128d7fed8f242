-- The engine ends what is not paid: the box office must not do so by itself, so these orders don't expire here.
INSERT INTO orders (event_id, code, customer, status, total_minor, channel, created_at, expires_at, paid_at, cancelled_at, cancel_reason)
SELECT e.id, o.value ->> 'code', o.value ->> 'customer', o.value ->> 'status', o.value ->> 'total', 'onsale',
       o.value ->> 'created_at', NULL, o.value ->> 'paid_at', o.value ->> 'cancelled_at',
       CASE o.value ->> 'cancel_reason' WHEN 'customer' THEN 'buyer' ELSE o.value ->> 'cancel_reason' END
FROM json_each(:orders) o
JOIN organizers g ON g.slug = o.value ->> 'organizer'
JOIN events e ON e.slug = o.value ->> 'event' AND e.organizer_id = g.id
WHERE o.value ->> 'is_new'
ON CONFLICT (code) DO NOTHING
