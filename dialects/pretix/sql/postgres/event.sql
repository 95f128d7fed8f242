-- The key is EVENT, or EVENT_DATE for a date of a series; so is the event's id, with the slug before it: slugs have no '_'.
WITH at AS (
    SELECT e.*, s.id AS date_id, s.active AS date_active, o.slug AS organizer,
           COALESCE(NULLIF(s.name, ''), e.name) AS shown,
           COALESCE(s.date_from, e.date_from) AS begins,
           CASE WHEN s.id IS NULL THEN e.date_to ELSE s.date_to END AS ends,
           GREATEST(e.presale_start, s.presale_start) AS opens,
           LEAST(e.presale_end, s.presale_end) AS closes
    FROM pretixbase_event e JOIN pretixbase_organizer o ON o.id = e.organizer_id
    LEFT JOIN pretixbase_subevent s ON s.event_id = e.id
        AND s.id = CAST(NULLIF(split_part(:event, '_', 2), '') AS bigint)
    WHERE e.id = CAST(split_part(:event, '_', 1) AS bigint) AND e.has_subevents = (s.id IS NOT NULL)
      AND e.seating_plan_id IS NULL AND s.seating_plan_id IS NULL
      AND COALESCE(s.date_to, s.date_from, e.date_to, e.date_from) > CAST(:now AS timestamptz) - interval '30 days'
      AND EXISTS (
        SELECT 1 FROM pretixbase_quota q
        JOIN pretixbase_quota_items d ON d.quota_id = q.id
        LEFT JOIN pretixbase_itemvariation v ON v.item_id = d.item_id
        WHERE q.event_id = e.id AND q.subevent_id IS NOT DISTINCT FROM s.id
          AND (v.id IS NULL OR EXISTS (
            SELECT 1 FROM pretixbase_quota_variations w WHERE w.quota_id = q.id AND w.itemvariation_id = v.id)))
), said AS (
    -- The event's own settings come before the organizer's; numbers that are none are left to the defaults of pretix.
    SELECT DISTINCT ON (key) key, value
    FROM (
        SELECT t.key, t.value, 0 AS rank FROM pretixbase_event_settingsstore t JOIN at ON at.id = t.object_id
        UNION ALL
        SELECT t.key, t.value, 1 FROM pretixbase_organizer_settingsstore t JOIN at ON at.organizer_id = t.object_id
    ) t
    WHERE key IN ('timezone', 'locale', 'payment_term_mode') AND value <> ''
       OR key IN ('max_items_per_order', 'reservation_time', 'payment_term_days', 'payment_term_minutes') AND value ~ '^[0-9]{1,7}$'
    ORDER BY key, rank
), setting AS (
    SELECT COALESCE(MAX(value) FILTER (WHERE key = 'timezone'), 'UTC') AS zone,
           COALESCE(MAX(value) FILTER (WHERE key = 'locale'), 'en') AS language,
           COALESCE(MAX(value) FILTER (WHERE key = 'payment_term_mode'), 'days') AS term,
           CAST(COALESCE(MAX(value) FILTER (WHERE key = 'max_items_per_order'), '10') AS bigint) AS per_order,
           CAST(COALESCE(MAX(value) FILTER (WHERE key = 'reservation_time'), '30') AS bigint) AS hold_minutes,
           CAST(COALESCE(MAX(value) FILTER (WHERE key = 'payment_term_days'), '14') AS bigint) AS pay_days,
           CAST(COALESCE(MAX(value) FILTER (WHERE key = 'payment_term_minutes'), '30') AS bigint) AS pay_minutes
    FROM said
), named AS (
    SELECT CASE WHEN shown ~ '^\{"[A-Za-z-]+": ' THEN COALESCE(
               NULLIF(CAST(shown AS jsonb) ->> language, ''), NULLIF(CAST(shown AS jsonb) ->> 'en', ''),
               (SELECT value FROM jsonb_each_text(CAST(shown AS jsonb)) WHERE value <> '' ORDER BY key LIMIT 1))
           ELSE shown END AS name
    FROM at, setting
)
SELECT at.organizer, at.slug || COALESCE('_' || at.date_id, '') AS event, at.currency,
       CASE WHEN octet_length(named.name) > 200 THEN left(named.name, 49) || '…' ELSE named.name END AS name,
       CASE WHEN at.live AND NOT at.testmode AND COALESCE(at.date_active, true) THEN 'open' ELSE 'paused' END AS state,
       at.begins AS starts_at, at.opens AS opens_at,
       -- Where no end is said pretix sells until the event is over, or to the end of its first day.
       COALESCE(at.closes, at.ends, CAST(CAST(at.begins AT TIME ZONE zone AS date) + 1 AS timestamp) AT TIME ZONE zone) AS closes_at,
       NULLIF(setting.per_order, 0) AS per_order,
       LEAST(GREATEST(setting.hold_minutes * 60, 1), 86400) AS hold_seconds,
       LEAST(GREATEST(CASE term WHEN 'minutes' THEN pay_minutes * 60 ELSE pay_days * 86400 END, 1), 7776000) AS payment_seconds
FROM at, setting, named
