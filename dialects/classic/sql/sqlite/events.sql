-- A draft is nobody's matter yet.
SELECT CAST(id AS text) AS key FROM events WHERE status <> 'draft'
