-- Snapshots of a state: all that it is made of, as Redis dumps it, at one position; and how one takes a state's place.

-- What a state's keys are called behind the tag of its shard: those with a place of their own, then one for each event.
local function parts_of(events)
  local parts = { 'state', 'defs', 'holds', 'ended', 'customers', 'orders', 'payments', 'unpaid', 'ids', 'idlist' }
  for slot = 0, events - 1 do
    parts[#parts + 1] = 'due' .. whole(slot)
  end
  return parts
end

local sizes = { hash = 'HLEN', list = 'LLEN', zset = 'ZCARD' }

-- Copies the state out, all of it at one position. Arguments: how many entries it may have at most; Redis does nothing else meanwhile.
-- Gives what the log and the shard are, the id of the last record, the digest of that record, and the parts by name.
local function snapshot(keys, a)
  local k = names_of(keys[1])
  local lost = missing(k)
  if lost then
    return trouble(T.Missing, lost)
  end
  local s = call('HMGET', k.state, 'l', 'p', 'c', 'n', 'g', 'log', 'shard', 'shards')
  if tonumber(s[1]) ~= LAYOUT then
    return trouble(T.Layout, tonumber(s[1]))
  end
  local last = call('XREVRANGE', k.sales, '+', '-', 'COUNT', 1)[1]
  if not last or position_of(last[1]) ~= tonumber(s[2]) or call('XLEN', k.sales) ~= s[2] - s[3] then
    return trouble(T.Mend)
  end
  local tag, entries, names_there = string.sub(k.state, 1, -6), 0, {}
  for _, name in ipairs(parts_of(tonumber(s[4]))) do
    local size = sizes[call('TYPE', tag .. name).ok]
    if size then
      entries = entries + call(size, tag .. name)
      names_there[#names_there + 1] = name
    end
  end
  if entries > tonumber(a[1]) then
    return trouble(T.Large, entries)
  end
  local parts = {}
  for _, name in ipairs(names_there) do
    parts[#parts + 1] = name
    parts[#parts + 1] = call('DUMP', tag .. name)
  end
  return { W.View, s[2], s[5], s[6], s[7], s[8], last[1], redis.sha1hex(last[2][2]), parts }
end

-- Puts a snapshot's parts, which were restored beside the state, in the state's place; from there `rebuild` goes on with the
-- records that follow. Nothing is touched unless the stream has the record that the snapshot was taken at. Arguments: that record's id,
-- its digest, and the names of the parts. Gives the position of the state, and the last one.
local function adopt(keys, a)
  local k, tag = names_of(keys[1]), string.sub(keys[1], 1, -6)
  local last = call('XREVRANGE', k.sales, '+', '-', 'COUNT', 1)[1]
  if not last then
    return trouble(T.Missing, k.sales)
  end
  local position, ends = position_of(a[1]), position_of(last[1])
  if ends < position then
    return trouble(T.Lost, k.sales, ends, position)
  end
  local at = call('XRANGE', k.sales, a[1], a[1])[1]
  if not at or redis.sha1hex(at[2][2]) ~= a[2] then
    return trouble(T.Other, k.sales, position)
  end
  for i = 3, #a do
    if call('EXISTS', tag .. 'restored/' .. a[i]) == 0 then
      return trouble(T.Missing, tag .. 'restored/' .. a[i])
    end
  end
  local before = tonumber(call('HGET', k.state, 'n') or 0)
  local restored = tonumber(call('HGET', tag .. 'restored/state', 'n'))
  for _, name in ipairs(parts_of(math.max(before, restored))) do
    call('DEL', tag .. name)
  end
  for i = 3, #a do
    call('RENAME', tag .. 'restored/' .. a[i], tag .. a[i])
  end
  -- As if it had been made again up to here: with the fence of its last record, and no server that has joined.
  local fences, fence = {}, string.match(a[1], '^(%d+)-')
  for _, begun in ipairs(unpack_(call('HGET', k.state, 'F'))) do
    if begun[2] <= position then
      local same = #fences > 0 and fences[#fences][2] == begun[2]
      fences[same and #fences or #fences + 1] = begun
    end
  end
  call('HDEL', k.state, 'k')
  call('HSET', k.state, 'f', fence, 'F', pack(fences), 'run', '', 'c', whole(ends - call('XLEN', k.sales)))
  return { W.Done, position, ends }
end

