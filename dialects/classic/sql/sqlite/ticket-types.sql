SELECT CAST(id AS text) AS ticket_type, name, price_minor AS price, active, CAST(stock_id AS text) AS quota
FROM ticket_types
WHERE event_id = :event
ORDER BY position, id
