-- The log of an Onsale, in a schema of its own. Made once, by the first server that is told to use this database.

CREATE SCHEMA onsale;

-- What is fixed for the log. One row.
CREATE TABLE onsale.log (
    one_row boolean PRIMARY KEY DEFAULT true CHECK (one_row),
    version integer NOT NULL,            -- of this schema
    log text NOT NULL,                   -- the log's id, 32 hexadecimal digits
    shards integer NOT NULL CHECK (shards > 0)
);

-- Where each shard's log ends, and who may append to it. Every append checks and changes its shard's row, so there is
-- one writer whatever anybody believes.
CREATE TABLE onsale.heads (
    shard integer PRIMARY KEY,
    term bigint NOT NULL DEFAULT 0,      -- grows with every taking over and every new connection of the writer
    position bigint NOT NULL DEFAULT 0,  -- of the last record
    node text NOT NULL DEFAULT '',       -- which process: a random id
    address text NOT NULL DEFAULT '',    -- where its clients find it
    pid integer,                         -- of its connection's backend, and when that began
    backend_start timestamptz,
    lease_until timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 10);                -- so that an update stays on its page

-- The log: one row is one batch, written whole or not at all.
CREATE TABLE onsale.batches (
    shard integer NOT NULL,
    first bigint NOT NULL,               -- position of its first record
    last bigint NOT NULL,                -- and of its last
    term bigint NOT NULL,                -- the term that wrote it
    checksum bigint NOT NULL,            -- CRC-32C over `records`
    chain bigint NOT NULL,               -- CRC-32C over all batches up to here: see docs/scaling.md
    written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    records bytea NOT NULL,              -- each: its length in 4 bytes, the lowest first, and so many bytes
    PRIMARY KEY (shard, first),
    CHECK (last >= first)
);
-- They are written once and hold mostly random bytes: squeezing them would cost more than it saves.
ALTER TABLE onsale.batches ALTER COLUMN records SET STORAGE EXTERNAL;

-- Small files of the data folder that whoever takes over needs, too: keys, webhooks, cursors.
CREATE TABLE onsale.files (
    name text PRIMARY KEY,
    bytes bytea NOT NULL,
    written_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The records of a batch, from 0.
CREATE FUNCTION onsale.split(records bytea) RETURNS TABLE (ordinal bigint, item bytea)
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    at integer := 0;
    length integer;
BEGIN
    ordinal := 0;
    WHILE at < octet_length(records) LOOP
        length := get_byte(records, at) + (get_byte(records, at + 1) << 8)
            + (get_byte(records, at + 2) << 16) + (get_byte(records, at + 3) << 24);
        item := substring(records FROM at + 5 FOR length);
        RETURN NEXT;
        at := at + 4 + length;
        ordinal := ordinal + 1;
    END LOOP;
END $$;

-- What a record's head says, in the order of crates/codec/onsale.proto: when it was decided, in microseconds since 1970;
-- whose and which event it is about; and the number of its fact.
CREATE FUNCTION onsale.head(item bytea, OUT at_us bigint, OUT organizer text, OUT event text, OUT fact integer)
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    at integer := 0;
    number bigint[] := '{}';             -- the tag, and then the number or the length
    value bigint;
    shift integer;
    byte integer;
BEGIN
    at_us := 0;
    WHILE at < octet_length(item) LOOP
        number := '{}';
        FOR i IN 1..2 LOOP
            value := 0;
            shift := 0;
            LOOP
                byte := get_byte(item, at);
                at := at + 1;
                value := value | ((byte & 127)::bigint << shift);
                shift := shift + 7;
                EXIT WHEN byte < 128;
            END LOOP;
            number := number || value;
        END LOOP;
        IF number[1] >> 3 >= 16 THEN
            fact := (number[1] >> 3)::integer;
            RETURN;
        ELSIF number[1] >> 3 = 1 THEN
            at_us := number[2];
        ELSIF number[1] >> 3 = 5 THEN
            organizer := convert_from(substring(item FROM at + 1 FOR number[2]::integer), 'UTF8');
        ELSIF number[1] >> 3 = 6 THEN
            event := convert_from(substring(item FROM at + 1 FOR number[2]::integer), 'UTF8');
        END IF;
        IF number[1] & 7 = 2 THEN
            at := at + number[2]::integer;
        END IF;
    END LOOP;
END $$;

-- The headers of the batches, without what is in them.
CREATE VIEW onsale.batch_headers AS
    SELECT shard, first, last, last - first + 1 AS records, octet_length(records) AS bytes, term, checksum, chain,
        written_at
    FROM onsale.batches;

-- The records. The first of each shard holds the secret behind all codes, so its bytes are not shown.
CREATE VIEW onsale.records AS
    SELECT b.shard, b.first + s.ordinal AS position, b.term, b.written_at,
        timestamptz 'epoch' + h.at_us * interval '1 microsecond' AS at,
        CASE h.fact
            WHEN 16 THEN 'shard_started' WHEN 17 THEN 'generation_started' WHEN 18 THEN 'group_placed'
            WHEN 24 THEN 'event_defined' WHEN 25 THEN 'state_set'
            WHEN 32 THEN 'hold_placed' WHEN 33 THEN 'hold_extended' WHEN 34 THEN 'hold_released'
            WHEN 35 THEN 'hold_expired'
            WHEN 40 THEN 'order_placed' WHEN 41 THEN 'order_cancelled'
            WHEN 48 THEN 'payment_recorded' WHEN 49 THEN 'payment_refunded'
            ELSE h.fact::text
        END AS type,
        h.organizer, h.event,
        CASE WHEN h.fact = 16 THEN NULL ELSE s.item END AS record
    FROM onsale.batches b, onsale.split(b.records) s, onsale.head(s.item) h;
