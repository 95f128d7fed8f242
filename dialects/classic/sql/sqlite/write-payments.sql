-- A reference is unique in the engine's event, and here among all payments.
INSERT INTO payments (order_id, provider, reference, amount_minor, paid_at)
SELECT x.id, p.value ->> 'provider', (o.value ->> 'event') || '/' || (p.value ->> 'reference'), p.value ->> 'amount',
       p.value ->> 'paid_at'
FROM json_each(:orders) o JOIN orders x ON x.code = o.value ->> 'code', json_each(o.value, '$.payments') p
WHERE TRUE
ON CONFLICT (provider, reference) DO NOTHING
