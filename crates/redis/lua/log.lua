-- The stream, and the way from a record to the state. A record is a packed list: kind, time, organizer and event
-- with a slash between them, id and body of its command (false: none), whether the id was chosen, key of the id, fact.
-- Facts carry, after what happened, what is needed to change the state without looking anything up.

local apply = {}

local function record(c, kind, fact)
  return { kind, c.now, c.subject, false, false, false, '', fact }
end

-- The records of a command: its own fact, which bears its stamp, after what had to happen first.
-- Arguments: 5 key of the id, 6 the id, 7 the body, 8 whether it was chosen.
local function own(c, a, kind, fact, first)
  local records = first or {}
  records[#records + 1] = { kind, c.now, c.subject, a[6], a[7], a[8] == '1', a[5], fact }
  return records
end

local function due_member(set, id)
  return fmt('%016.0f', set) .. id
end

-- The fact of a hold's end, but for a claim: hold, deadline, position that set it, customer, lines.
local function ended(id, hold)
  return { id, hold[4], hold[6], hold[7], hold[8] }
end

local function expiries(c, due)
  local records = {}
  for i = 1, #due, 2 do
    records[#records + 1] = record(c, K.HoldExpired, ended(due[i], due[i + 1]))
  end
  return records
end

-- Takes a hold off the live ones.
local function end_hold(c, id, set, how, value)
  local k, slot = c.k, c.e[1]
  call('ZREM', k.due .. slot, due_member(set, id))
  call('HSET', k.holds, id, pack({ 2, slot, how, value }))
  if push(c, k.ended, id) > L.ENDED_HOLDS_MAX then
    call('HDEL', k.holds, call('LINDEX', k.ended, 0))
    call('LPOP', k.ended)
  end
end

apply[K.HoldPlaced] = function(c, f, at, position)
  local id, key, expires, lines = f[1], f[3], f[4], plain(f[5])
  c.e[4] = 1
  shift(c.e, definition(c), lines, 1, 0)
  count(c, key, position, lines, 1)
  call('HSET', c.k.holds, id, pack({ 1, c.e[1], position, expires, false, position, key, lines }))
  call('ZADD', c.k.due .. c.e[1], expires, due_member(position, id))
end

apply[K.HoldExtended] = function(c, f, at, position)
  -- hold, deadline, position that set the old one, the old one
  local id, expires, set = f[1], f[2], f[3]
  local hold = unpack_(call('HGET', c.k.holds, id))
  hold[5] = true
  if expires > f[4] then
    hold[4], hold[6] = expires, position
    call('ZREM', c.k.due .. c.e[1], due_member(set, id))
    call('ZADD', c.k.due .. c.e[1], expires, due_member(position, id))
  end
  call('HSET', c.k.holds, id, pack(hold))
end

local function give_back(c, f, how, time, position)
  shift(c.e, definition(c), f[5], -1, 0)
  count(c, f[4], position, f[5], -1)
  end_hold(c, f[1], f[3], how, time)
end

apply[K.HoldReleased] = function(c, f, at, position)
  give_back(c, f, E.Released, at, position)
end

apply[K.HoldExpired] = function(c, f, at, position)
  give_back(c, f, E.Expired, f[2], position)
end

apply[K.OrderPlaced] = function(c, f, at, position)
  -- sequence, generation, hold, customer, its key, lines, total, currency, due, position that set the hold's deadline
  local sequence, hold, key, lines, due = f[1], f[3], f[5], plain(f[6]), f[9]
  local def = definition(c)
  c.o = sequence
  if hold then
    shift(c.e, def, lines, -1, 1)
    end_hold(c, hold, f[10], E.Claimed, sequence)
  else
    c.e[4] = 1
    shift(c.e, def, lines, 0, 1)
    count(c, key, position, lines, 1)
  end
  local state = due and O.AwaitingPayment or O.Confirmed
  call('HSET', c.k.orders, whole(sequence), pack({ c.e[1], position, key, due, f[2], state, lines, {} }))
  if due then
    call('ZADD', c.k.unpaid, due, whole(sequence))
  end
end

local function order_at(c, sequence)
  return unpack_(field(c.k.orders, whole(sequence)))
end

apply[K.PaymentRecorded] = function(c, f, at, position)
  -- sequence, generation, provider, reference, its key, amount, currency, paid at, outcome, reason
  local sequence, key, outcome = f[1], f[5], f[9]
  local order = order_at(c, sequence)
  local state = P.RefundDue
  if outcome ~= U.RefundDue then
    state = P.Applied
    if outcome == U.Reinstated then
      shift(c.e, definition(c), order[7], 0, 1)
      count(c, order[3], position, order[7], 1)
    else
      call('ZREM', c.k.unpaid, whole(sequence))
    end
    order[6] = O.Confirmed
  end
  local payments = order[8]
  if payments[#payments] ~= key then
    payments[#payments + 1] = key
  end
  call('HSET', c.k.payments, key, pack({ sequence, f[6], position, state, 0 }))
  call('HSET', c.k.orders, whole(sequence), pack(order))
end

apply[K.PaymentRefunded] = function(c, f, at, position)
  -- sequence, generation, reference, its key
  local payment = unpack_(call('HGET', c.k.payments, f[4]))
  payment[4], payment[5] = P.Refunded, position
  call('HSET', c.k.payments, f[4], pack(payment))
end

apply[K.OrderCancelled] = function(c, f, at, position)
  -- sequence, generation, reason
  local sequence, order = f[1], order_at(c, f[1])
  shift(c.e, definition(c), order[7], 0, -1)
  count(c, order[3], position, order[7], -1)
  call('ZREM', c.k.unpaid, whole(sequence))
  for _, key in ipairs(order[8]) do
    local payment = unpack_(call('HGET', c.k.payments, key))
    if payment[4] == P.Applied then
      payment[4] = P.RefundDue
      call('HSET', c.k.payments, key, pack(payment))
    end
  end
  order[6] = f[3]
  call('HSET', c.k.orders, whole(sequence), pack(order))
end

-- Carries a record out at its position.
local function carry_out(c, r, position)
  apply[r[1]](c, r[8], r[2], position)
  c.p, c.t = position, r[2]
  if r[6] then
    remember(c, r[7], position, r[2])
  end
end

-- Writes records into the stream, then changes the state. Gives the reply.
local function commit(c, records)
  local position, last = c.p, nil
  for i, r in ipairs(records) do
    last = pack(r)
    call('XADD', c.k.sales, 'NOMKSTREAM', c.fence .. '-' .. whole(position + i), 'e', last)
  end
  for i, r in ipairs(records) do
    carry_out(c, r, position + i)
  end
  save(c)
  return { W.Done, c.p, last, position + 1 }
end

local function position_of(id)
  return tonumber(string.match(id, '-(%d+)$'))
end

-- Brings the state to the end of the stream, where an earlier call was cut off between the two.
-- Gives a trouble where that can't be done.
mend = function(c)
  local k = c.k
  local newest = call('XREVRANGE', k.sales, '+', '-', 'COUNT', 1)[1]
  local behind = newest and position_of(newest[1]) - c.p
  if not behind or behind < 0 then
    return trouble(T.Lost, k.sales, newest and position_of(newest[1]) or 0, c.p)
  end
  if behind == 0 then
    -- Somebody else trimmed the stream.
    call('HSET', k.state, 'c', c.p - call('XLEN', k.sales))
    return nil
  end
  if behind > RECORDS_PER_CALL_MAX then
    return trouble(T.Lost, k.sales, c.p + behind, c.p)
  end
  local tail = call('XREVRANGE', k.sales, '+', '-', 'COUNT', behind)
  c.mending = true
  for i = #tail, 1, -1 do
    local r = unpack_(tail[i][2][2])
    if position_of(tail[i][1]) ~= c.p + 1 then
      return trouble(T.Lost, k.sales, position_of(tail[i][1]), c.p)
    end
    c.subject = r[3] or ''
    local packed = call('HGET', k.state, 'e' .. c.subject)
    c.e, c.of = packed and unpack_(packed), {}
    carry_out(c, r, c.p + 1)
    save(c)
  end
  call('HSET', k.state, 'c', c.p - call('XLEN', k.sales))
  return nil
end

-- Opens the state, looks whether the command was carried out before, decides it and commits.
local function run(decide)
  return function(keys, a)
    local c, bad = open(keys, a, true)
    if not c then
      return bad
    end
    local again = repeated(c, a)
    if again then
      return again
    end
    local records, reply = decide(c, a)
    if not records then
      return reply
    end
    return commit(c, records)
  end
end

-- The same for a command that is about an event that is there.
local function run_on_event(decide)
  return run(function(c, a)
    if not c.e then
      return nil, refused(c, R.UnknownEvent)
    end
    return decide(c, a)
  end)
end
