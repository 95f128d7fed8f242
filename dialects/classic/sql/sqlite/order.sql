SELECT g.slug AS organizer, e.slug AS event, o.status
FROM orders o JOIN events e ON e.id = o.event_id JOIN organizers g ON g.id = e.organizer_id
WHERE o.code = :order
