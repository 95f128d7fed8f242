-- Events that something is sold at, and the dates of series; what has numbered seats, or is long over, is nobody's matter.
SELECT CAST(e.id AS text) || COALESCE('_' || s.id, '') AS key
FROM pretixbase_event e LEFT JOIN pretixbase_subevent s ON s.event_id = e.id AND e.has_subevents
WHERE e.has_subevents = (s.id IS NOT NULL)
  AND e.seating_plan_id IS NULL AND s.seating_plan_id IS NULL
  AND COALESCE(s.date_to, s.date_from, e.date_to, e.date_from) > CAST(:now AS timestamptz) - interval '30 days'
  AND EXISTS (
    SELECT 1 FROM pretixbase_quota q
    JOIN pretixbase_quota_items d ON d.quota_id = q.id
    LEFT JOIN pretixbase_itemvariation v ON v.item_id = d.item_id
    WHERE q.event_id = e.id AND q.subevent_id IS NOT DISTINCT FROM s.id
      AND (v.id IS NULL OR EXISTS (
        SELECT 1 FROM pretixbase_quota_variations w WHERE w.quota_id = q.id AND w.itemvariation_id = v.id)))
