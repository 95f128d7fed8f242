-- Every sale holds this lock shared in its transaction: so none is half done, and the next ones count after us.
SELECT set_config('lock_timeout', '2s', true) AS waits,
       CAST(pg_advisory_xact_lock(((CAST(split_part(:event, '_', 1) AS bigint) % 281474976710656) << 16) | 1) AS text) AS locked
