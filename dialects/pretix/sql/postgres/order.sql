-- A code is unique in its organizer only; ours have the engine's mark.
SELECT g.slug AS organizer,
       e.slug || COALESCE('_' || (
           SELECT MIN(p.subevent_id) FROM pretixbase_orderposition p WHERE p.order_id = o.id), '') AS event,
       CASE o.status WHEN 'p' THEN 'paid' WHEN 'c' THEN 'cancelled' ELSE 'pending' END AS status
FROM pretixbase_order o JOIN pretixbase_event e ON e.id = o.event_id JOIN pretixbase_organizer g ON g.id = e.organizer_id
WHERE o.code = :order AND o.api_meta ->> 'seller' = 'onsale'
