-- A reference is unique in the engine's event, and here among all payments.
INSERT INTO payments (order_id, provider, reference, amount_minor, paid_at)
SELECT x.id, p.provider, o.event || '/' || p.reference, p.amount, p.paid_at
FROM jsonb_to_recordset(CAST(:orders AS jsonb)) AS o (code text, event text, payments jsonb)
JOIN orders x ON x.code = o.code,
jsonb_to_recordset(o.payments) AS p (provider text, reference text, amount bigint, paid_at timestamptz)
ON CONFLICT (provider, reference) DO NOTHING
