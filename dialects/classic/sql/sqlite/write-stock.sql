-- What the engine sold moves from blocked to sold, and what it cancelled moves back. It comes before the orders are written,
-- since it depends on what they were. What the box office cancelled itself is taken again when that is captured.
WITH o AS (
    SELECT value ->> 'code' AS code, value ->> 'is_new' AS is_new, value ->> 'status' AS status,
           value ->> 'reinstated' AS reinstated, value -> 'lines' AS lines
    FROM json_each(:orders)
), moved AS (
    SELECT t.stock_id, l.value ->> 'quantity' AS tickets
    FROM o, json_each(o.lines) l
    JOIN ticket_types t ON t.id = CAST(l.value ->> 'ticket_type' AS integer)
    WHERE o.is_new AND o.status <> 'cancelled' AND NOT EXISTS (SELECT 1 FROM orders x WHERE x.code = o.code)
    UNION ALL
    SELECT t.stock_id, CASE o.status WHEN 'cancelled' THEN -l.quantity ELSE l.quantity END
    FROM o JOIN orders x ON x.code = o.code
    JOIN order_lines l ON l.order_id = x.id JOIN ticket_types t ON t.id = l.ticket_type_id
    WHERE (o.status = 'cancelled' AND x.status <> 'cancelled')
       OR (o.status = 'paid' AND o.reinstated AND NOT o.is_new AND x.status = 'cancelled')
), sums AS (
    SELECT stock_id, SUM(tickets) AS tickets FROM moved GROUP BY stock_id
)
UPDATE stocks SET sold = sold + sums.tickets, blocked = blocked - sums.tickets
FROM sums WHERE stocks.id = sums.stock_id AND sums.tickets <> 0
