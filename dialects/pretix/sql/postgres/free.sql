-- What pretix has left to sell of each quota, as pretix itself counts it, but for the waiting list. What the engine has by vouchers
-- is its own, whether it was sold and written back or not.
WITH q AS (
    SELECT q.* FROM pretixbase_quota q
    WHERE q.event_id = CAST(split_part(:event, '_', 1) AS bigint)
      AND q.subevent_id IS NOT DISTINCT FROM CAST(NULLIF(split_part(:event, '_', 2), '') AS bigint)
      AND EXISTS (
        SELECT 1 FROM pretixbase_quota_items d LEFT JOIN pretixbase_itemvariation v ON v.item_id = d.item_id
        WHERE d.quota_id = q.id AND (v.id IS NULL OR EXISTS (
            SELECT 1 FROM pretixbase_quota_variations w WHERE w.quota_id = q.id AND w.itemvariation_id = v.id)))
), draws AS (
    SELECT q.id AS quota_id, d.item_id, CAST(NULL AS bigint) AS variation_id
    FROM q JOIN pretixbase_quota_items d ON d.quota_id = q.id
    UNION ALL
    SELECT q.id, v.item_id, v.id
    FROM q JOIN pretixbase_quota_variations w ON w.quota_id = q.id JOIN pretixbase_itemvariation v ON v.id = w.itemvariation_id
), sold AS (
    SELECT draws.quota_id, COUNT(*) FILTER (WHERE o.api_meta ->> 'seller' IS DISTINCT FROM 'onsale') AS here,
           COUNT(*) FILTER (WHERE o.api_meta ->> 'seller' = 'onsale') AS engine
    FROM draws JOIN q ON q.id = draws.quota_id
    JOIN pretixbase_orderposition p ON p.item_id = draws.item_id AND p.variation_id IS NOT DISTINCT FROM draws.variation_id
        AND p.subevent_id IS NOT DISTINCT FROM q.subevent_id AND NOT p.canceled
        AND NOT (p.ignore_from_quota_while_blocked AND p.blocked IS NOT NULL)
    JOIN pretixbase_order o ON o.id = p.order_id AND o.event_id = q.event_id AND o.status IN ('n', 'p')
    GROUP BY draws.quota_id
), voucher AS (
    SELECT q.id AS quota_id, SUM(GREATEST(u.max_usages - u.redeemed, 0)) FILTER (WHERE u.tag NOT LIKE 'onsale %') AS here,
           SUM(u.max_usages) FILTER (WHERE u.tag LIKE 'onsale %') AS engine
    FROM q JOIN pretixbase_voucher u ON u.event_id = q.event_id AND u.subevent_id IS NOT DISTINCT FROM q.subevent_id AND u.block_quota
        AND (u.valid_until IS NULL OR u.valid_until >= now())
        AND (u.quota_id = q.id OR EXISTS (
            SELECT 1 FROM draws WHERE draws.quota_id = q.id AND draws.item_id = u.item_id
              AND draws.variation_id IS NOT DISTINCT FROM u.variation_id))
    GROUP BY q.id
), cart AS (
    SELECT draws.quota_id, COUNT(*) AS here
    FROM draws JOIN q ON q.id = draws.quota_id
    JOIN pretixbase_cartposition c ON c.event_id = q.event_id AND c.item_id = draws.item_id AND c.expires >= now()
        AND c.variation_id IS NOT DISTINCT FROM draws.variation_id AND c.subevent_id IS NOT DISTINCT FROM q.subevent_id
    LEFT JOIN pretixbase_voucher u ON u.id = c.voucher_id
    WHERE u.id IS NULL OR NOT u.block_quota OR u.valid_until < now()
    GROUP BY draws.quota_id
)
SELECT CAST(q.id AS text) AS quota,
       q.size - COALESCE(sold.here, 0) - COALESCE(voucher.here, 0) - COALESCE(cart.here, 0)
       - GREATEST(COALESCE(voucher.engine, 0), COALESCE(sold.engine, 0)) AS free
FROM q LEFT JOIN sold ON sold.quota_id = q.id LEFT JOIN voucher ON voucher.quota_id = q.id LEFT JOIN cart ON cart.quota_id = q.id
ORDER BY q.id
