SELECT o.slug AS organizer, e.slug AS event, e.name, e.currency,
       CASE e.status WHEN 'on_sale' THEN 'open' ELSE e.status END AS state,
       e.starts_at, e.sale_opens_at AS opens_at, e.sale_closes_at AS closes_at,
       e.customer_limit AS per_customer, e.payment_minutes * 60 AS payment_seconds
FROM events e JOIN organizers o ON o.id = e.organizer_id
WHERE e.id = CAST(:event AS bigint) AND e.status <> 'draft'
