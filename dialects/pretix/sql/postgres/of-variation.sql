SELECT i.event_id || COALESCE('_' || s.id, '') AS key
FROM pretixbase_itemvariation v JOIN pretixbase_item i ON i.id = v.item_id
LEFT JOIN pretixbase_subevent s ON s.event_id = i.event_id
WHERE v.id = CAST(:key AS bigint)
