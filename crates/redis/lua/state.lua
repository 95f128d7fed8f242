-- The state of one shard, as it lies in Redis, and how a call opens and saves it.
--
-- All keys of a shard share one hash tag. `state` is a hash with all that counts:
--   l layout, log, shard, shards, key: fixed when the log begins
--   f fence, run: the fence grows whenever the server's run id changes
--   k 1 if the server keeps all that it acknowledges, as far as is known
--   g generation, p position, t time of the last record applied, o orders ever placed
--   c records that were trimmed off the stream
--   r, r1 from which second on ids are remembered, and the second of the oldest remembered one
--   n events; E<slot> the name of an event; G<organizer>/<group> its number
--   e<organizer>/<event> its counts, packed:
--     slot, version, state, used, digest of its definition, types,
--     then held and sold of each type by slot, then held and sold of each quota by slot
-- Beside it:
--   sales     the stream; an entry's id is fence-position, its field `e` a packed record
--   defs      hash, by event: blob, head, types, quotas, limits, packed
--   holds     hash, by id: live {1, slot, position, deadline, extended, set, customer, lines}
--             or ended {2, slot, how, time or order}
--   ended     list of the ids of ended holds, oldest first
--   due<slot> sorted set of an event's live holds by deadline; the member begins with the
--             position that set the deadline, so that equal ones keep their order
--   customers hash, by digest: {position, type, tickets, type, tickets, …}
--   orders    hash, by sequence: {slot, position, customer, due, generation, state, lines, payments}
--   payments  hash, by digest: {sequence, amount, position, state, position of the refund}
--   unpaid    sorted set of the orders that await payment, by when that is due
--   ids       hash, by key: "position:second"; idlist the same, oldest first
-- Every hash has a field with an empty name, so that one that is gone is told from an empty one.
--
-- `state` is written last and at once, but for r. All other writes can be done again: they are absolute, or
-- carry the position of the record that they are of.

-- Nothing of this is there while Redis loads a library: every function sets them first.
local call, pack, unpack_, floor, fmt

-- Defined with the stream.
local mend

local names = {}

local function names_of(state)
  local k = names[state]
  if not k then
    local tag = string.sub(state, 1, -6)
    k = { state = state }
    for _, name in ipairs({ 'sales', 'defs', 'holds', 'ended', 'due', 'customers', 'orders', 'payments',
      'unpaid', 'ids', 'idlist' }) do
      k[name] = tag .. name
    end
    names[state] = k
  end
  return k
end

local function whole(number)
  return fmt('%.0f', number)
end

-- The reply of a call that found something wrong with what it stands on: nothing was changed.
local function trouble(what, ...)
  return { W.Trouble, what, ... }
end

local function refused(c, what, ...)
  return { W.Refused, c.p, what, ... }
end

-- The key that is missing of those that every shard has from its first record on, if one is.
local function missing(k)
  if call('EXISTS', k.state, k.sales, k.holds, k.orders, k.customers, k.defs, k.payments, k.ids) < 8 then
    for _, name in ipairs({ 'state', 'sales', 'holds', 'orders', 'customers', 'defs', 'payments', 'ids' }) do
      if call('EXISTS', k[name]) == 0 then
        return k[name]
      end
    end
  end
end

-- What a lookup in a hash gave; raises an error where the whole hash is gone.
local function field(key, name)
  local found = call('HMGET', key, name, '')
  if not found[2] then
    error({ err = 'ONSALE_MISSING ' .. key })
  end
  return found[1]
end

-- Shared by all calls: what stands in `state`, the time, and the event that is asked for.
-- Arguments: 1 fence, 2 latest time to run at, 3 time to decide at (0: the server's), 4 event.
local function open(keys, a, may_write)
  local k = names_of(keys[1])
  local s = call('HMGET', k.state, 'f', 'p', 't', 'o', 'c', 'r', 'r1', 'g', 'e' .. a[4])
  if not s[1] then
    return nil, trouble(T.Missing, k.state)
  end
  if s[1] ~= a[1] then
    return nil, trouble(T.Fence, tonumber(s[1]))
  end
  local time = call('TIME')
  local clock = time[1] * 1000000 + time[2]
  if clock > tonumber(a[2]) then
    return nil, trouble(T.Late)
  end
  local now = tonumber(a[3])
  if now == 0 then
    now = clock
  end
  local c = { k = k, fence = s[1], p = tonumber(s[2]), t = tonumber(s[3]), o = tonumber(s[4]), cut = tonumber(s[5]),
    r = tonumber(s[6]), r1 = s[7] and s[7] ~= '' and tonumber(s[7]), g = tonumber(s[8]), subject = a[4],
    e = s[9] and unpack_(s[9]), of = {} }
  c.now = now > c.t and now or c.t
  if call('XLEN', k.sales) ~= c.p - c.cut then
    if not may_write then
      return nil, trouble(T.Mend)
    end
    local bad = mend(c)
    if bad then
      return nil, bad
    end
    return open(keys, a, may_write)
  end
  return c
end

local function save(c)
  local k = c.k
  if c.e then
    call('HSET', k.state, 'p', c.p, 't', c.t, 'o', c.o, 'e' .. c.subject, pack(c.e))
  else
    call('HSET', k.state, 'p', c.p, 't', c.t, 'o', c.o)
  end
  if c.ids then
    call('HSET', k.state, 'r', c.r, 'r1', c.r1 or '')
  end
end

-- Definitions, by the digest of their packed form: what was read once stays right.
local defs, defs_kept = {}, 0

local function read_definition(packed)
  local d = unpack_(packed)
  local def = { packed = packed, blob = d[1], head = d[2], types = d[3], quotas = d[4], limits = d[5], slots = {} }
  for slot, kind in ipairs(def.types) do
    def.slots[kind[1]] = slot - 1
  end
  for _, limit in ipairs(def.limits) do
    if #limit[1] > 0 then
      limit.covers = {}
      for _, slot in ipairs(limit[1]) do
        limit.covers[slot] = true
      end
    end
    def.per_customer = def.per_customer or limit[3]
    def.per_order = def.per_order or limit[2]
  end
  return def
end

-- The definition in force of the event that a call is about.
local function definition(c)
  local digest = c.e[5]
  local def = defs[digest]
  if not def then
    local packed = field(c.k.defs, c.subject)
    if not packed or redis.sha1hex(packed) ~= digest then
      error({ err = 'ONSALE_MISSING ' .. c.k.defs })
    end
    if defs_kept >= 4096 then
      defs, defs_kept = {}, 0
    end
    def = read_definition(packed)
    defs[digest], defs_kept = def, defs_kept + 1
  end
  return def
end

-- What a customer has: {position, type, tickets, …}, or nothing.
local function customer(c, key)
  local has = c.of[key]
  if has == nil then
    local packed = field(c.k.customers, key)
    has = packed and unpack_(packed)
    c.of[key] = has
  end
  return has
end

-- Adds the tickets of lines to what a customer has, or takes them away (sign -1).
local function count(c, key, position, lines, sign)
  local has = customer(c, key)
  if not has then
    if sign < 0 then
      -- Only where this was done before and the rest was not.
      return
    end
    has = { 0 }
  end
  if has[1] >= position then
    return
  end
  has[1] = position
  for line = 1, #lines, 4 do
    local slot, tickets, at = lines[line], lines[line + 1] * sign, nil
    for i = 2, #has, 2 do
      if has[i] == slot then
        at = i
      end
    end
    if not at then
      at = #has + 1
      has[at], has[at + 1] = slot, 0
    end
    has[at + 1] = has[at + 1] + tickets
    if has[at + 1] == 0 then
      table.remove(has, at + 1)
      table.remove(has, at)
    end
  end
  if #has == 1 then
    c.of[key] = false
    call('HDEL', c.k.customers, key)
  else
    c.of[key] = has
    call('HSET', c.k.customers, key, pack(has))
  end
end

-- The second below which ids are no longer remembered.
local function remembered_from(at)
  return floor((at - L.COMMANDS_REMEMBERED_US) / 1000000)
end

-- The command that is repeated, if it is, or its refusal. Arguments: 5 key of the id ('': not chosen),
-- 9 when the id was made, if it says so.
local function repeated(c, a)
  if a[5] == '' then
    return nil
  end
  local found = field(c.k.ids, a[5])
  if found then
    local position, second = string.match(found, '^(%d+):(%d+)$')
    if tonumber(second) >= remembered_from(c.now) then
      return { W.Repeated, c.p, tonumber(position) }
    end
  end
  if a[9] ~= '' then
    local since = math.max(c.r * 1000000, c.now - L.COMMANDS_REMEMBERED_US)
    if tonumber(a[9]) < since then
      return refused(c, R.IdTooOld, since)
    end
  end
  return nil
end

-- When an entry of the list of ids was made: none where there is no entry.
local function second_of(entry)
  return entry and tonumber(string.sub(entry, 17))
end

-- Forgets the oldest id. It leaves the list last, so that a call that was cut off forgets the same one again.
local function forget(c)
  local oldest = call('LRANGE', c.k.idlist, 0, 1)
  local key = string.sub(oldest[1], 1, 16)
  local value = call('HGET', c.k.ids, key)
  if value and tonumber(string.match(value, ':(%d+)$')) == second_of(oldest[1]) then
    call('HDEL', c.k.ids, key)
  end
  call('LPOP', c.k.idlist)
  c.r1 = second_of(oldest[2])
end

-- Adds something to the end of a list, where it is not yet; gives the list's length.
local function push(c, list, what)
  if c.mending then
    for _, there in ipairs(call('LRANGE', list, -RECORDS_PER_CALL_MAX, -1)) do
      if there == what then
        return call('LLEN', list)
      end
    end
  end
  return call('RPUSH', list, what)
end

local function remember(c, key, position, at)
  local k, second = c.k, floor(at / 1000000)
  c.ids = true
  if c.mending then
    -- A call that was cut off may have forgotten some.
    c.r1 = second_of(call('LINDEX', k.idlist, 0))
  end
  -- Two for one, so that a shrinking rate shrinks the list, and never all at once.
  for _ = 1, 2 do
    if c.r1 and c.r1 < remembered_from(at) then
      forget(c)
    end
  end
  call('HSET', k.ids, key, whole(position) .. ':' .. whole(second))
  c.r1 = c.r1 or second
  if push(c, k.idlist, key .. whole(second)) > IDS_MAX then
    -- Before it is forgotten, so that a call that was cut off in between refuses too much rather than too little.
    if c.r1 + 1 > c.r then
      c.r = c.r1 + 1
      call('HSET', k.state, 'r', c.r)
    end
    forget(c)
  end
end
