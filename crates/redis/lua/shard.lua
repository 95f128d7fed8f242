-- The shard as a whole: how its log begins, how nodes join it, what time alone changes, what can be seen, and the list of
-- all functions.

-- A state as it is after the first record of a log.
local function blank(k, started, fence, run, at)
  for _, key in ipairs({ k.holds, k.orders, k.customers, k.defs, k.payments, k.ids }) do
    call('HSET', key, '', '')
  end
  call('HSET', k.state, 'l', LAYOUT, 'log', started[1], 'shard', started[2], 'shards', started[3], 'key', started[4],
    'g', started[5], 'run', run, 'f', fence, 'F', pack({ { fence, 1 } }), 'p', 1, 't', at, 'o', 0, 'c', 0, 'r', 0, 'r1', '',
    'n', 0)
end

-- A new log. Arguments: its id, shard, of how many, the secret of its codes, generation, the server's run id, the time.
local function begin(keys, a)
  local k = names_of(keys[1])
  if call('EXISTS', k.state) == 1 then
    return { W.Unchanged, 0 }
  end
  if call('EXISTS', k.sales, k.holds, k.orders, k.customers, k.defs, k.payments, k.ids) > 0 then
    return trouble(T.Missing, k.state)
  end
  local fact = { a[1], tonumber(a[2]), tonumber(a[3]), a[4], tonumber(a[5]) }
  call('XADD', k.sales, '1-1', 'e', pack({ K.ShardStarted, tonumber(a[7]), false, false, false, false, '', fact }))
  blank(k, fact, 1, a[6], a[7])
  return { W.Done, 1 }
end

apply[K.GenerationStarted] = function(c, f)
  c.g = f[1]
  call('HSET', c.k.state, 'g', f[1])
end

-- A node comes to a server. Where that is another one than before, or the same after a start, the fence grows; and the
-- generation, too, unless all that was ever acknowledged is sure to be there: the one before kept it, and so does this one.
-- Arguments: the server's run id, whether it keeps all, the time (0: the server's). Gives all that a node must know.
local function join(keys, a)
  local k = names_of(keys[1])
  local s = call('HMGET', k.state, 'l', 'run', 'f', 'F', 'k')
  if not s[1] then
    return trouble(T.Missing, k.state)
  end
  if tonumber(s[1]) ~= LAYOUT then
    return trouble(T.Layout, tonumber(s[1]))
  end
  local c, bad = open(keys, { s[3], '9007199254740991', a[3], '' }, true)
  if not c then
    return bad
  end
  if s[2] ~= a[1] then
    local fence, first = tonumber(s[3]) + 1, c.p + 1
    c.fence = whole(fence)
    if a[2] ~= '1' or s[5] ~= '1' then
      if c.g >= L.GENERATIONS_MAX then
        return trouble(T.Generations, c.g)
      end
      c.subject = false
      local r = record(c, K.GenerationStarted, { c.g + 1 })
      c.subject = ''
      commit(c, { r })
    end
    local fences = unpack_(s[4])
    fences[#fences + 1] = { fence, first }
    call('HSET', k.state, 'f', fence, 'F', pack(fences), 'run', a[1])
  end
  if s[5] ~= a[2] then
    call('HSET', k.state, 'k', a[2])
  end
  local all = call('HMGET', k.state, 'f', 'F', 'g', 'log', 'shard', 'shards', 'key', 'c', 'p', 'n')
  return { W.View, c.p, unpack(all) }
end

-- Brings a state that fell behind its stream up to it; for who may only read. Arguments as of `open`.
local function mend_state(keys, a)
  local c, bad = open(keys, a, true)
  return c and { W.Unchanged, c.p } or bad
end

-- Makes the state again from the stream, so many records a call. Arguments: whether to begin, by throwing away what there is of
-- it, and how many. Gives the position that was reached, and the last one. Until that is reached every other function
-- finds the state too far behind its stream to touch it.
local function rebuild(keys, a)
  local k = names_of(keys[1])
  if a[1] == '1' then
    local first = call('XRANGE', k.sales, '-', '+', 'COUNT', 1)[1]
    local r = first and unpack_(first[2][2])
    if not r or position_of(first[1]) ~= 1 or r[1] ~= K.ShardStarted then
      return trouble(T.Missing, k.sales)
    end
    for slot = 0, tonumber(call('HGET', k.state, 'n') or 0) - 1 do
      call('DEL', k.due .. whole(slot))
    end
    call('DEL', k.state, k.defs, k.holds, k.ended, k.customers, k.orders, k.payments, k.unpaid, k.ids, k.idlist)
    blank(k, r[8], tonumber(string.match(first[1], '^(%d+)-')), '', r[2])
  end
  local s = call('HMGET', k.state, 'f', 'p', 't', 'o', 'r', 'r1', 'g', 'F', 'c')
  if not s[1] then
    return trouble(T.Missing, k.state)
  end
  local c = { k = k, fence = s[1], p = tonumber(s[2]), t = tonumber(s[3]), o = tonumber(s[4]), cut = tonumber(s[9]),
    r = tonumber(s[5]), r1 = s[6] ~= '' and tonumber(s[6]), g = tonumber(s[7]), of = {} }
  local fences = unpack_(s[8])
  for i, entry in ipairs(call('XRANGE', k.sales, '(' .. c.fence .. '-' .. whole(c.p), '+', 'COUNT', a[2])) do
    local r, fence = unpack_(entry[2][2]), string.match(entry[1], '^(%d+)-')
    if position_of(entry[1]) ~= c.p + 1 then
      return trouble(T.Lost, k.sales, position_of(entry[1]), c.p)
    end
    if fence ~= c.fence then
      c.fence, fences[#fences + 1] = fence, { tonumber(fence), c.p + 1 }
      call('HSET', k.state, 'f', fence, 'F', pack(fences))
    end
    c.subject = r[3] or ''
    local packed = call('HGET', k.state, 'e' .. c.subject)
    c.e, c.of = packed and unpack_(packed), {}
    -- The first may have been carried out in part by a call that was cut off.
    c.mending = i == 1
    carry_out(c, r, c.p + 1)
    save(c)
  end
  return { W.Done, c.p, c.cut + call('XLEN', k.sales) }
end

-- Ends what is due. Arguments as of `open`, then the slot of the event to begin with, how many events are looked at, and
-- how many holds and orders are ended at most. Gives how many were, and the slot to go on with.
local function timer(keys, a)
  local k = names_of(keys[1])
  local lost = missing(k)
  if lost then
    return trouble(T.Missing, lost)
  end
  local c, bad = open(keys, a, true)
  if not c then
    return bad
  end
  local events, slot, most, ended_now = tonumber(call('HGET', k.state, 'n')), tonumber(a[5]), tonumber(a[7]), 0
  local function about(subject)
    c.subject, c.e, c.of = subject, unpack_(call('HGET', k.state, 'e' .. subject)), {}
  end
  for _, sequence in ipairs(call('ZRANGEBYSCORE', k.unpaid, '-inf', c.now, 'LIMIT', 0, most)) do
    local order = order_at(c, sequence)
    about(call('HGET', k.state, 'E' .. order[1]))
    commit(c, { record(c, K.OrderCancelled, { tonumber(sequence), order[5], O.Unpaid }) })
    ended_now = ended_now + 1
  end
  for _ = 1, math.min(events, tonumber(a[6])) do
    slot = slot < events and slot or 0
    local room = most - ended_now
    if room <= 0 then
      break
    end
    local due = {}
    for _, member in ipairs(call('ZRANGEBYSCORE', k.due .. slot, '-inf', c.now, 'LIMIT', 0, room)) do
      local id = string.sub(member, 17)
      due[#due + 1], due[#due + 2] = id, unpack_(field(k.holds, id))
    end
    if #due > 0 then
      about(call('HGET', k.state, 'E' .. slot))
      commit(c, expiries(c, due))
      ended_now = ended_now + #due / 2
    end
    slot = slot + 1
  end
  return { W.Done, c.p, ended_now, slot }
end

-- Something to look at, of an event that is there. Arguments as of `open`, then the id.
local function view(look)
  return function(keys, a)
    local c, bad = open(keys, a, false)
    if not c then
      return bad
    end
    if not c.e then
      return refused(c, R.UnknownEvent)
    end
    local seen, why = look(c, a[5])
    if not seen then
      return why
    end
    return { W.View, c.p, pack(seen) }
  end
end

local event_view = view(function(c)
  return { c.e[2], c.e[3], definition(c).blob }
end)

local availability_view = view(function(c)
  local def, quotas = definition(c), {}
  for slot, quota in ipairs(def.quotas) do
    if quota[2] then
      local held, sold = used(c.e, slot - 1)
      quotas[quota[2] + 1] = { quota[1], quota[3], quota[4], quota[5], held, sold }
    end
  end
  return { c.e[3], def.blob, quotas }
end)

local hold_view = view(function(c, id)
  local hold, bad = live_hold(c, id)
  if not hold then
    return nil, bad
  end
  local def = definition(c)
  return { hold[3], hold[4], hold[5], named(def, hold[8]), def.head[1] }
end)

local order_view = view(function(c, id)
  local sequence, generation = string.match(id, '^(%d+)/(%d+)$')
  local order = known_order(c, sequence, generation)
  if not order then
    return nil, refused(c, R.UnknownOrder)
  end
  local payments, def = {}, definition(c)
  for i, key in ipairs(order[8]) do
    local payment = unpack_(call('HGET', c.k.payments, key))
    payments[i] = { payment[3], payment[2], payment[4] }
  end
  return { order[2], order[6], order[4], named(def, order[7]), def.head[1], payments }
end)

-- Events of the shard. Arguments as of `open`, then the slot to begin with and how many. Gives their names.
local function events(keys, a)
  local c, bad = open(keys, a, false)
  if not c then
    return bad
  end
  local names_asked, from = {}, tonumber(a[5])
  local all = tonumber(call('HGET', c.k.state, 'n'))
  for slot = from, math.min(all, from + tonumber(a[6])) - 1 do
    names_asked[#names_asked + 1] = call('HGET', c.k.state, 'E' .. whole(slot))
  end
  return { W.View, c.p, names_asked }
end

local function register(name, body, flags)
  redis.register_function({
    function_name = LIBRARY .. '_' .. name,
    callback = function(keys, a)
      call, pack, unpack_, floor, fmt = redis.call, cmsgpack.pack, cmsgpack.unpack, math.floor, string.format
      return body(keys, a)
    end,
    flags = flags,
  })
end

-- What gives stock back or records money runs when memory is full, too; so does what leads there.
local SALES, ALWAYS, VIEWS = {}, { 'allow-oom' }, { 'no-writes' }

register('begin', begin, SALES)
register('join', join, ALWAYS)
register('mend', mend_state, ALWAYS)
register('timer', timer, ALWAYS)
register('rebuild', rebuild, ALWAYS)
register('adopt', adopt, ALWAYS)
register('snapshot', snapshot, VIEWS)
register('define_event', define_event, SALES)
register('set_state', set_state, SALES)
register('place_hold', place_hold, SALES)
register('extend_hold', extend_hold, SALES)
register('release_hold', release_hold, ALWAYS)
register('expire_hold', expire_hold, ALWAYS)
register('claim_hold', claim_hold, SALES)
register('buy', buy, SALES)
register('record_payment', record_payment, ALWAYS)
register('record_refund', record_refund, ALWAYS)
register('cancel_order', cancel_order, ALWAYS)
register('expire_order', expire_order, ALWAYS)
register('event', event_view, VIEWS)
register('availability', availability_view, VIEWS)
register('hold', hold_view, VIEWS)
register('order', order_view, VIEWS)
register('events', events, VIEWS)
