-- Every sale holds this lock shared in its transaction: so none is half done, and the next ones count after us. Which of 256 it is
-- depends on pretix' setting `advisory_lock_index`, which is not in its database: so all are waited for.
SELECT set_config('lock_timeout', '2s', true) AS waits,
       CAST(pg_advisory_xact_lock(
           ((CAST(split_part(:event, '_', 1) AS bigint) % 281474976710656) << 16) | (setting << 8) | 1) AS text) AS locked
FROM generate_series(CAST(0 AS bigint), 255) AS setting
