-- The engine ends what is not paid: the box office must not do so by itself, so these orders don't expire here.
INSERT INTO orders (event_id, code, customer, status, total_minor, channel, created_at, expires_at, paid_at, cancelled_at, cancel_reason)
SELECT e.id, o.code, o.customer, o.status, o.total, 'onsale', o.created_at, NULL, o.paid_at, o.cancelled_at,
       CASE o.cancel_reason WHEN 'customer' THEN 'buyer' ELSE o.cancel_reason END
FROM jsonb_to_recordset(CAST(:orders AS jsonb)) AS o (
    code text, organizer text, event text, is_new boolean, customer text, status text, total bigint, created_at timestamptz,
    paid_at timestamptz, cancelled_at timestamptz, cancel_reason text)
JOIN organizers g ON g.slug = o.organizer
JOIN events e ON e.slug = o.event AND e.organizer_id = g.id
WHERE o.is_new
ON CONFLICT (code) DO NOTHING
