-- The vouchers that keep stock back for the engine: the tag says by which transfer.
SELECT substr(tag, 8) AS name, CAST(quota_id AS text) AS quota, max_usages AS amount, CAST(id AS text) AS key
FROM pretixbase_voucher
WHERE tag LIKE 'onsale %' AND quota_id IS NOT NULL
