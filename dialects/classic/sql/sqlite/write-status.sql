-- An order that the box office cancelled is not paid by a payment that was under way: it is cancelled in the engine, too.
WITH o AS (
    SELECT value ->> 'code' AS code, value ->> 'is_new' AS is_new, value ->> 'status' AS status,
           value ->> 'reinstated' AS reinstated, value ->> 'paid_at' AS paid_at, value ->> 'cancelled_at' AS cancelled_at,
           value ->> 'cancel_reason' AS cancel_reason
    FROM json_each(:orders)
)
UPDATE orders
SET status = o.status, paid_at = COALESCE(o.paid_at, orders.paid_at), cancelled_at = o.cancelled_at,
    cancel_reason = CASE o.cancel_reason WHEN 'customer' THEN 'buyer' ELSE o.cancel_reason END
FROM o
WHERE orders.code = o.code AND orders.status <> o.status
  AND (o.status = 'cancelled' OR orders.status = 'pending' OR (o.reinstated AND NOT o.is_new))
