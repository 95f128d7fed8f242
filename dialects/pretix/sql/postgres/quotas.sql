-- A quota that nothing draws on sells nothing. That one is closed is no matter of its size.
SELECT CAST(q.id AS text) AS quota, q.size AS capacity
FROM pretixbase_quota q
WHERE q.event_id = CAST(split_part(:event, '_', 1) AS bigint)
  AND q.subevent_id IS NOT DISTINCT FROM CAST(NULLIF(split_part(:event, '_', 2), '') AS bigint)
  AND EXISTS (
    SELECT 1 FROM pretixbase_quota_items d LEFT JOIN pretixbase_itemvariation v ON v.item_id = d.item_id
    WHERE d.quota_id = q.id AND (v.id IS NULL OR EXISTS (
        SELECT 1 FROM pretixbase_quota_variations w WHERE w.quota_id = q.id AND w.itemvariation_id = v.id)))
ORDER BY q.id
