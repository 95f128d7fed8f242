-- The orders that the engine cancelled, as they are here; there is one writer at a time, so nobody changes them meanwhile.
SELECT code AS "order", status
FROM orders
WHERE code IN (
    SELECT value ->> 'code' FROM json_each(:orders)
    WHERE value ->> 'status' = 'cancelled' AND NOT value ->> 'is_new')
