-- Items, or their variations where they have some. What must not be sold to just anybody, or not alone, stays and is not active.
WITH language AS (
    SELECT COALESCE(
        (SELECT NULLIF(value, '') FROM pretixbase_event_settingsstore t
         WHERE t.object_id = e.id AND t.key = 'locale'),
        (SELECT NULLIF(value, '') FROM pretixbase_organizer_settingsstore t
         WHERE t.object_id = e.organizer_id AND t.key = 'locale'), 'en') AS said,
        -- pretix writes all prices with two digits after the point.
        CASE WHEN e.currency IN ('BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'PYG', 'RWF', 'UGX', 'UYI', 'VND', 'VUV',
                                 'XAF', 'XOF', 'XPF') THEN 1
             WHEN e.currency IN ('BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND') THEN 1000 ELSE 100 END AS minor
    FROM pretixbase_event e WHERE e.id = CAST(split_part(:event, '_', 1) AS bigint)
), kind AS (
    SELECT i.*, v.id AS variation_id, v.value AS variation_value, v.position AS variation_position, q.id AS quota_id, q.subevent_id,
           c.position AS category_position,
           COALESCE(sv.price, v.default_price, si.price, i.default_price) AS asked,
           GREATEST(i.available_from, v.available_from, si.available_from, sv.available_from) AS opens,
           LEAST(i.available_until, v.available_until, si.available_until, sv.available_until) AS closes,
           i.active AND COALESCE(v.active, true) AND NOT COALESCE(si.disabled, false) AND NOT COALESCE(sv.disabled, false)
           AND NOT (i.require_voucher OR i.hide_without_voucher OR i.require_bundling OR i.require_approval OR i.require_membership
               OR i.issue_giftcard OR COALESCE(v.hide_without_voucher OR v.require_approval OR v.require_membership, false)
               OR COALESCE(c.is_addon, false) OR i.hidden_if_available_id IS NOT NULL OR i.hidden_if_item_available_id IS NOT NULL)
           AND NOT EXISTS (SELECT 1 FROM pretixbase_itembundle b WHERE b.base_item_id = i.id)
           AND NOT EXISTS (SELECT 1 FROM pretixbase_itemaddon a WHERE a.base_item_id = i.id AND a.min_count > 0)
           AND NOT EXISTS (SELECT 1 FROM pretixbase_seatcategorymapping m WHERE m.product_id = i.id)
           AND (i.all_sales_channels OR EXISTS (
               SELECT 1 FROM pretixbase_item_limit_sales_channels l JOIN pretixbase_saleschannel h ON h.id = l.saleschannel_id
               WHERE l.item_id = i.id AND h.identifier = 'web'))
           AND (COALESCE(v.all_sales_channels, true) OR EXISTS (
               SELECT 1 FROM pretixbase_itemvariation_limit_sales_channels l JOIN pretixbase_saleschannel h ON h.id = l.saleschannel_id
               WHERE l.itemvariation_id = v.id AND h.identifier = 'web')) AS is_sold
    FROM pretixbase_quota q
    JOIN pretixbase_quota_items d ON d.quota_id = q.id
    JOIN pretixbase_item i ON i.id = d.item_id
    LEFT JOIN pretixbase_itemcategory c ON c.id = i.category_id
    LEFT JOIN pretixbase_itemvariation v ON v.item_id = i.id
    LEFT JOIN pretixbase_subeventitem si ON si.subevent_id = q.subevent_id AND si.item_id = i.id
    LEFT JOIN pretixbase_subeventitemvariation sv ON sv.subevent_id = q.subevent_id AND sv.variation_id = v.id
    WHERE q.event_id = CAST(split_part(:event, '_', 1) AS bigint)
      AND q.subevent_id IS NOT DISTINCT FROM CAST(NULLIF(split_part(:event, '_', 2), '') AS bigint)
      AND (v.id IS NULL OR EXISTS (
        SELECT 1 FROM pretixbase_quota_variations w WHERE w.quota_id = q.id AND w.itemvariation_id = v.id))
), named AS (
    SELECT kind.*, minor,
           CASE WHEN name ~ '^\{"[A-Za-z-]+": ' THEN COALESCE(
               NULLIF(CAST(name AS jsonb) ->> said, ''), NULLIF(CAST(name AS jsonb) ->> 'en', ''),
               (SELECT value FROM jsonb_each_text(CAST(name AS jsonb)) WHERE value <> '' ORDER BY key LIMIT 1))
           ELSE name END
           || COALESCE(' – ' || CASE WHEN variation_value ~ '^\{"[A-Za-z-]+": ' THEN COALESCE(
               NULLIF(CAST(variation_value AS jsonb) ->> said, ''), NULLIF(CAST(variation_value AS jsonb) ->> 'en', ''),
               (SELECT value FROM jsonb_each_text(CAST(variation_value AS jsonb)) WHERE value <> '' ORDER BY key LIMIT 1))
           ELSE variation_value END, '') AS shown
    FROM kind, language
)
SELECT CAST(id AS text) || COALESCE('-' || variation_id, '') AS ticket_type,
       CASE WHEN octet_length(shown) > 200 THEN left(shown, 49) || '…' ELSE shown END AS name,
       asked * minor AS price, free_price, CAST(quota_id AS text) AS quota,
       is_sold AND (opens IS NULL OR closes IS NULL OR opens < closes) AS active, opens AS opens_at, closes AS closes_at
FROM named
ORDER BY category_position NULLS FIRST, category_id NULLS FIRST, position, id, variation_position, variation_id, quota_id
