-- An order that the box office cancelled is not paid by a payment that was under way: it is cancelled in the engine, too.
UPDATE orders x
SET status = o.status, paid_at = COALESCE(o.paid_at, x.paid_at), cancelled_at = o.cancelled_at,
    cancel_reason = CASE o.cancel_reason WHEN 'customer' THEN 'buyer' ELSE o.cancel_reason END
FROM jsonb_to_recordset(CAST(:orders AS jsonb)) AS o (
    code text, is_new boolean, status text, reinstated boolean, paid_at timestamptz, cancelled_at timestamptz, cancel_reason text)
WHERE x.code = o.code AND x.status <> o.status
  AND (o.status = 'cancelled' OR x.status = 'pending' OR (o.reinstated AND NOT o.is_new))
