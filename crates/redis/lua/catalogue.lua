-- What is for sale. A definition comes checked by itself, in two forms: its bytes, which are kept and given back as
-- they are, and a packed list with what the rules need: head, types, quotas and limits, by their order and names.
--   head: currency, opens, closes, seconds of a hold, seconds to pay, sale group
--   type: name, price, whether the buyer may pay more, opens, closes, names of quotas
--   quota: name, capacity (false: unlimited)
--   limit: names of types (none: all), per order, per customer (false: no limit)

local function expected(c, kind, version)
  local current = c.e[2]
  if kind == X.Any or (kind == X.Version and version == current) then
    return nil
  end
  return refused(c, kind == X.Unsaid and R.VersionNotSaid or R.VersionStale, current)
end

-- The rights of each quota of a new definition. Those that came by transfers stay as they are.
local function stocks_for(before, quotas)
  local known, stocks = {}, {}
  for _, quota in ipairs(before and before.quotas or {}) do
    known[quota[1]] = quota
  end
  for i, quota in ipairs(quotas) do
    local old = known[quota[1]]
    if old and old[5] == C.Transferred then
      stocks[i] = { old[3], old[4], old[5] }
    elseif old then
      stocks[i] = { quota[2], old[4], old[5] }
    else
      stocks[i] = { quota[2], 1, C.Own }
    end
  end
  return stocks
end

-- The definition in the form in which it is kept, and the event's counts under it; or the refusal. What has a slot keeps
-- it for good, also while it is taken out.
local function redefined(c, before, blob, new, stocks)
  local head, types, quotas, limits = new[1], {}, {}, {}
  local type_slots, quota_slots, e = {}, {}, c.e
  for slot, old in ipairs(before and before.types or {}) do
    types[slot] = { old[1], false, 0, false, false, false, {} }
    type_slots[old[1]] = slot
  end
  for index, kind in ipairs(new[2]) do
    local slot = type_slots[kind[1]]
    if not slot then
      if #types == L.TICKET_TYPES_MAX then
        return nil, refused(c, R.TooManyEver, 0, L.TICKET_TYPES_MAX)
      end
      slot = #types + 1
      type_slots[kind[1]] = slot
    end
    types[slot] = { kind[1], index - 1, kind[2], kind[3], kind[4], kind[5], {} }
  end
  local had = e and e[6] or 0
  local function counts(slot)
    if slot > had then
      return 0, 0
    end
    return e[5 + 2 * slot], e[6 + 2 * slot]
  end
  for slot, kind in ipairs(types) do
    local held, sold = counts(slot)
    if not kind[2] and held + sold > 0 then
      return nil, refused(c, R.TicketTypeInUse, kind[1], held + sold)
    end
  end
  local quotas_before = before and #before.quotas or 0
  for slot = 1, quotas_before do
    local old = before.quotas[slot]
    quotas[slot] = { old[1], false, old[3], old[4], old[5] }
    quota_slots[old[1]] = slot
  end
  for index, quota in ipairs(new[3]) do
    local slot, stock = quota_slots[quota[1]], stocks[index]
    if not slot then
      if #quotas == L.QUOTAS_MAX then
        return nil, refused(c, R.TooManyEver, 1, L.QUOTAS_MAX)
      end
      slot = #quotas + 1
      quota_slots[quota[1]] = slot
    end
    quotas[slot] = { quota[1], index - 1, stock[1], stock[2], stock[3] }
  end
  for slot = 1, quotas_before do
    local held, sold = used(e, slot - 1)
    if not quotas[slot][2] and held + sold > 0 then
      return nil, refused(c, R.QuotaInUse, quotas[slot][1], math.min(held + sold, UNLIMITED))
    end
  end
  local sums = {}
  for slot in ipairs(quotas) do
    sums[slot] = { 0, 0 }
  end
  local counted = { e and e[1] or false, 0, 0, 0, '', #types }
  for slot, kind in ipairs(types) do
    local held, sold = counts(slot)
    counted[#counted + 1], counted[#counted + 2] = held, sold
    if kind[2] then
      for _, name in ipairs(new[2][kind[2] + 1][6]) do
        local quota = quota_slots[name]
        kind[7][#kind[7] + 1] = quota - 1
        local sum = sums[quota]
        sum[1], sum[2] = math.min(sum[1] + held, UNLIMITED), math.min(sum[2] + sold, UNLIMITED)
      end
    end
  end
  for index, quota in ipairs(new[3]) do
    local slot = quota_slots[quota[1]]
    local sum, right = sums[slot], quotas[slot][3] or UNLIMITED
    if sum[1] + sum[2] > right then
      return nil, refused(c, R.QuotaBelowUse, index - 1, quota[1], right, math.min(sum[1] + sum[2], UNLIMITED))
    end
  end
  for _, sum in ipairs(sums) do
    counted[#counted + 1], counted[#counted + 2] = sum[1], sum[2]
  end
  for i, limit in ipairs(new[4]) do
    local slots = {}
    for j, name in ipairs(limit[1]) do
      slots[j] = type_slots[name] - 1
    end
    table.sort(slots)
    limits[i] = { slots, limit[2], limit[3] }
  end
  local packed = pack({ blob, head, types, quotas, limits })
  counted[5] = redis.sha1hex(packed)
  return packed, counted
end

-- whether it is right by itself, what is expected, which version, its bytes, its list
local define_event = run(function(c, a)
  if a[10] ~= '1' then
    return nil, refused(c, R.InvalidDefinition)
  end
  local kind, before = tonumber(a[11]), nil
  if c.e then
    local bad = expected(c, kind, tonumber(a[12]))
    if bad then
      return nil, bad
    end
    before = definition(c)
    if before.blob == a[13] then
      return nil, { W.Unchanged, c.p }
    end
  elseif kind == X.Any or kind == X.Version then
    return nil, refused(c, R.VersionStale, -1)
  end
  local new = unpack_(a[14])
  local head = new[1]
  -- It will be written to: is it there at all?
  field(c.k.defs, c.subject)
  if before then
    if before.head[6] ~= head[6] then
      return nil, refused(c, R.SaleGroupFixed, before.head[6])
    end
    if c.e[4] == 1 and before.head[1] ~= head[1] then
      return nil, refused(c, R.CurrencyInUse)
    end
  end
  local stocks = stocks_for(before, new[3])
  local packed, bad = redefined(c, before, a[13], new, stocks)
  if not packed then
    return nil, bad
  end
  local records, organizer = {}, string.match(c.subject, '^[^/]+/')
  if call('HEXISTS', c.k.state, 'G' .. organizer .. head[6]) == 0 then
    records[1] = record(c, K.GroupPlaced, { head[6] })
  end
  local slot = c.e and c.e[1] or tonumber(call('HGET', c.k.state, 'n'))
  local version = c.e and c.e[2] + 1 or 1
  return own(c, a, K.EventDefined, { version, a[13], stocks, a[14], slot }, records)
end)

apply[K.GroupPlaced] = function(c, f)
  call('HSET', c.k.state, 'G' .. string.match(c.subject, '^[^/]+/') .. f[1], 1)
end

apply[K.EventDefined] = function(c, f)
  local version, blob, stocks, new, slot = f[1], f[2], f[3], unpack_(f[4]), f[5]
  -- Where this was done before and the rest was not, it is the new one already: that makes no difference.
  local before = c.e and read_definition(field(c.k.defs, c.subject))
  local packed, counted = redefined(c, before, blob, new, stocks)
  counted[1], counted[2] = slot, version
  counted[3], counted[4] = c.e and c.e[3] or S.Paused, c.e and c.e[4] or 0
  call('HSET', c.k.defs, c.subject, packed)
  if not c.e then
    call('HSET', c.k.state, 'E' .. whole(slot), c.subject, 'n', slot + 1)
  end
  c.e = counted
end

-- the new state, what is expected, which version
local set_state = run_on_event(function(c, a)
  local bad = expected(c, tonumber(a[11]), tonumber(a[12]))
  if bad then
    return nil, bad
  end
  if c.e[3] == tonumber(a[10]) then
    return nil, { W.Unchanged, c.p }
  end
  return own(c, a, K.StateSet, { c.e[2] + 1, tonumber(a[10]) })
end)

apply[K.StateSet] = function(c, f)
  c.e[2], c.e[3] = f[1], f[2]
end
