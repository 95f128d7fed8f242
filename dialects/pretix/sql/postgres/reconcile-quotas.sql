-- Each quota: positions of the engine's orders and of others, and what vouchers keep back for the engine beyond its orders.
WITH q AS (
    SELECT q.* FROM pretixbase_quota q
    WHERE q.event_id = CAST(split_part(:event, '_', 1) AS bigint)
      AND q.subevent_id IS NOT DISTINCT FROM CAST(NULLIF(split_part(:event, '_', 2), '') AS bigint)
), draws AS (
    SELECT q.id AS quota_id, d.item_id, CAST(NULL AS bigint) AS variation_id
    FROM q JOIN pretixbase_quota_items d ON d.quota_id = q.id
    UNION ALL
    SELECT q.id, v.item_id, v.id
    FROM q JOIN pretixbase_quota_variations w ON w.quota_id = q.id JOIN pretixbase_itemvariation v ON v.id = w.itemvariation_id
), sold AS (
    SELECT draws.quota_id, COUNT(*) FILTER (WHERE o.api_meta ->> 'seller' IS DISTINCT FROM 'onsale') AS others,
           COUNT(*) FILTER (WHERE o.api_meta ->> 'seller' = 'onsale') AS engine
    FROM draws JOIN q ON q.id = draws.quota_id
    JOIN pretixbase_orderposition p ON p.item_id = draws.item_id AND p.variation_id IS NOT DISTINCT FROM draws.variation_id
        AND p.subevent_id IS NOT DISTINCT FROM q.subevent_id AND NOT p.canceled
    JOIN pretixbase_order o ON o.id = p.order_id AND o.event_id = q.event_id AND o.status IN ('n', 'p')
    GROUP BY draws.quota_id
)
SELECT CAST(q.id AS text) AS quota, q.size AS capacity, COALESCE(sold.engine, 0) AS engine, COALESCE(sold.others, 0) AS others,
       COALESCE((SELECT SUM(u.max_usages) FROM pretixbase_voucher u WHERE u.quota_id = q.id AND u.tag LIKE 'onsale %' AND u.block_quota
         AND (u.valid_until IS NULL OR u.valid_until >= now())), 0)
       - COALESCE(sold.engine, 0) AS blocked
FROM q LEFT JOIN sold ON sold.quota_id = q.id
ORDER BY q.id
