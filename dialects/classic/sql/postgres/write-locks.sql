-- The orders that the engine cancelled, as they are here; nobody changes them until this transaction ends.
SELECT x.code AS "order", x.status
FROM orders x
WHERE x.code IN (
    SELECT o.code FROM jsonb_to_recordset(CAST(:orders AS jsonb)) AS o (code text, is_new boolean, status text)
    WHERE o.status = 'cancelled' AND NOT o.is_new)
ORDER BY x.id FOR UPDATE
