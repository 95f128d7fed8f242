-- The box office's tables in SQLite. Keep it in step with postgres.sql: the same tables, the same columns.
--
-- Times are RFC 3339 text in UTC with milliseconds, always 24 characters (2027-06-12T18:00:00.000Z), so that
-- texts compare as times do. SQLite's own strftime('%Y-%m-%dT%H:%M:%fZ', 'now') writes them so.
-- Money is in minor units of the event's currency. Booleans are 0 and 1.

CREATE TABLE organizers (
    id INTEGER PRIMARY KEY,
    slug TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.___Z')
);

CREATE TABLE users (
    id INTEGER PRIMARY KEY,
    organizer_id INTEGER NOT NULL REFERENCES organizers (id),
    email TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.___Z')
);
CREATE INDEX users_organizer ON users (organizer_id);

-- The cookie's secret is kept as a digest.
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY,
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    secret_digest TEXT NOT NULL UNIQUE,
    csrf_token TEXT NOT NULL,
    created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.___Z'),
    expires_at TEXT NOT NULL CHECK (expires_at LIKE '____-__-__T__:__:__.___Z')
);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_expires ON sessions (expires_at);

CREATE TABLE api_keys (
    id INTEGER PRIMARY KEY,
    organizer_id INTEGER NOT NULL REFERENCES organizers (id),
    name TEXT NOT NULL,
    key_digest TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.___Z'),
    UNIQUE (organizer_id, name)
);

CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    organizer_id INTEGER NOT NULL REFERENCES organizers (id),
    slug TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    description TEXT NOT NULL DEFAULT '',
    venue TEXT NOT NULL DEFAULT '',
    starts_at TEXT NOT NULL CHECK (starts_at LIKE '____-__-__T__:__:__.___Z'),
    -- The sale's window is [opens, closes); NULL: no bound on that side.
    sale_opens_at TEXT CHECK (sale_opens_at LIKE '____-__-__T__:__:__.___Z'),
    sale_closes_at TEXT CHECK (sale_closes_at LIKE '____-__-__T__:__:__.___Z'),
    currency TEXT NOT NULL CHECK (length(currency) = 3),
    status TEXT NOT NULL DEFAULT 'draft' CHECK (status IN ('draft', 'on_sale', 'paused', 'closed')),
    -- How many tickets one customer may have, over all orders that are not cancelled; NULL: any number.
    customer_limit INTEGER CHECK (customer_limit > 0),
    -- A pending order that is not paid within this time is cancelled.
    payment_minutes INTEGER NOT NULL DEFAULT 15 CHECK (payment_minutes BETWEEN 1 AND 43200),
    created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.___Z'),
    updated_at TEXT NOT NULL CHECK (updated_at LIKE '____-__-__T__:__:__.___Z')
);
CREATE INDEX events_organizer ON events (organizer_id, starts_at);
CREATE INDEX events_status ON events (status, starts_at);

-- A counted pool of places. Free: capacity - sold - blocked. `sold` counts the tickets of orders that are not
-- cancelled; `blocked` is what the house keeps back.
CREATE TABLE stocks (
    id INTEGER PRIMARY KEY,
    event_id INTEGER NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    capacity INTEGER NOT NULL CHECK (capacity >= 0),
    sold INTEGER NOT NULL DEFAULT 0 CHECK (sold >= 0),
    blocked INTEGER NOT NULL DEFAULT 0 CHECK (blocked >= 0),
    CHECK (sold + blocked <= capacity),
    UNIQUE (event_id, name)
);

-- What a buyer picks. Each draws on one stock; a stock may have many.
CREATE TABLE ticket_types (
    id INTEGER PRIMARY KEY,
    event_id INTEGER NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    stock_id INTEGER NOT NULL REFERENCES stocks (id),
    name TEXT NOT NULL,
    description TEXT NOT NULL DEFAULT '',
    price_minor INTEGER NOT NULL CHECK (price_minor >= 0),
    -- One that is not active is not for sale.
    active INTEGER NOT NULL DEFAULT 1 CHECK (active IN (0, 1)),
    -- The order on pages.
    position INTEGER NOT NULL DEFAULT 0,
    UNIQUE (event_id, name)
);
CREATE INDEX ticket_types_stock ON ticket_types (stock_id);

CREATE TABLE orders (
    id INTEGER PRIMARY KEY,
    event_id INTEGER NOT NULL REFERENCES events (id),
    code TEXT NOT NULL UNIQUE,
    -- An opaque id of the buyer, as the shop knows it.
    customer TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'paid', 'cancelled')),
    total_minor INTEGER NOT NULL CHECK (total_minor >= 0),
    -- Who sold it: a shop, a till, a partner.
    channel TEXT NOT NULL DEFAULT 'shop',
    -- The client's own key for this order, so that a repeated request makes no second one.
    client_key TEXT,
    request_digest TEXT,
    created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.___Z'),
    -- Until when a pending order is to be paid.
    expires_at TEXT CHECK (expires_at LIKE '____-__-__T__:__:__.___Z'),
    paid_at TEXT CHECK (paid_at LIKE '____-__-__T__:__:__.___Z'),
    cancelled_at TEXT CHECK (cancelled_at LIKE '____-__-__T__:__:__.___Z'),
    cancel_reason TEXT CHECK (cancel_reason IN ('unpaid', 'buyer', 'organizer')),
    UNIQUE (event_id, client_key)
);
CREATE INDEX orders_event ON orders (event_id, id);
CREATE INDEX orders_customer ON orders (event_id, customer);
CREATE INDEX orders_pending ON orders (expires_at) WHERE status = 'pending';

CREATE TABLE order_lines (
    id INTEGER PRIMARY KEY,
    order_id INTEGER NOT NULL REFERENCES orders (id),
    ticket_type_id INTEGER NOT NULL REFERENCES ticket_types (id),
    quantity INTEGER NOT NULL CHECK (quantity > 0),
    unit_price_minor INTEGER NOT NULL CHECK (unit_price_minor >= 0),
    UNIQUE (order_id, ticket_type_id)
);
CREATE INDEX order_lines_ticket_type ON order_lines (ticket_type_id);

-- One row a ticket, made with the order. They are valid while the order is paid.
CREATE TABLE tickets (
    id INTEGER PRIMARY KEY,
    order_id INTEGER NOT NULL REFERENCES orders (id),
    ticket_type_id INTEGER NOT NULL REFERENCES ticket_types (id),
    code TEXT NOT NULL UNIQUE
);
CREATE INDEX tickets_order ON tickets (order_id);
CREATE INDEX tickets_ticket_type ON tickets (ticket_type_id);

CREATE TABLE payments (
    id INTEGER PRIMARY KEY,
    order_id INTEGER NOT NULL REFERENCES orders (id),
    provider TEXT NOT NULL,
    reference TEXT NOT NULL,
    amount_minor INTEGER NOT NULL CHECK (amount_minor >= 0),
    paid_at TEXT NOT NULL CHECK (paid_at LIKE '____-__-__T__:__:__.___Z'),
    UNIQUE (provider, reference)
);
CREATE INDEX payments_order ON payments (order_id);
