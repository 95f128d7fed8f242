-- Streams that others write to, beside the log: made by the first server that is active and knows them.

CREATE TABLE IF NOT EXISTS onsale.streams (
    name text PRIMARY KEY,
    generation bigint NOT NULL,          -- which history it is: a random number
    first bigint NOT NULL DEFAULT 1,     -- the lowest position that is kept
    last bigint NOT NULL DEFAULT 0,      -- the highest there ever was
    written_at_us bigint NOT NULL DEFAULT 0  -- when that was written, in microseconds since 1970
);

CREATE TABLE IF NOT EXISTS onsale.stream_records (
    stream text NOT NULL REFERENCES onsale.streams,
    position bigint NOT NULL,
    key text NOT NULL,                   -- organizer and event
    payload bytea NOT NULL,              -- a CloudEvent as JSON: convert_from(payload, 'UTF8')
    written_at_us bigint NOT NULL,
    PRIMARY KEY (stream, position)
);
