-- What the bus's functions share; it stands before each of them.
-- KEYS[1]: what is kept of the stream. ARGV[1]: this run of the server. ARGV[2]: '1' when the server
-- promises to lose nothing that it has acknowledged.

-- Lua's own way of writing a number turns large ones into 1e+15.
local function text(number) return string.format('%.0f', number) end

local function now_us()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

-- What is known of the stream; false when it is not there. A run of the server that may have
-- lost something is another history: a new generation, which every cursor is told.
local function about()
  local kept = redis.call('HMGET', KEYS[1], 'birth', 'generation', 'shards', 'run', 'kept', 'written')
  if not kept[1] then return false end
  local stream = { birth = kept[1], generation = kept[2], shards = tonumber(kept[3]), written = tonumber(kept[6]) }
  if kept[4] ~= ARGV[1] then
    if kept[5] ~= '1' or ARGV[2] ~= '1' then
      stream.generation = text(math.max(tonumber(kept[2]) + 1, now_us()))
    end
    redis.call('HSET', KEYS[1], 'generation', stream.generation, 'run', ARGV[1], 'kept', ARGV[2])
  elseif kept[5] == '1' and ARGV[2] ~= '1' then
    redis.call('HSET', KEYS[1], 'kept', '0')
  end
  return stream
end

local function shard_key(shard) return KEYS[1] .. '/' .. shard end

local function last_of(shard) return tonumber(redis.call('HGET', KEYS[1], 'last:' .. shard) or 0) end

local function id(stream, position) return stream.birth .. '-' .. text(position) end

-- The position in a record's id, which must be of this stream's birth.
local function position_of(stream, row)
  local birth, position = string.match(row[1], '^(%d+)-(%d+)$')
  if birth ~= stream.birth then error('a record of another stream is in it: ' .. row[1]) end
  return tonumber(position)
end

-- What a function answers when records are gone that nobody let go here: of which shard, and which.
local function missing(shard, which) return { 'missing', shard, which } end

local function missing_at(shard, position) return missing(shard, 'the record at position ' .. text(position)) end

-- A shard that is not there, though records were written to it: trimming leaves it there, empty. Nil when all is well.
local function missing_whole(shard, last)
  if last > 0 and redis.call('EXISTS', shard_key(shard)) == 0 then
    return missing(shard, 'all up to position ' .. text(last))
  end
end

-- The lowest position that is there; one past the last when none is.
local function first_of(stream, shard, last)
  local head = redis.call('XRANGE', shard_key(shard), '-', '+', 'COUNT', 1)[1]
  return head and position_of(stream, head) or last + 1
end

-- Nil when it is missing.
local function row_at(stream, shard, position)
  local row = redis.call('XRANGE', shard_key(shard), id(stream, position), '+', 'COUNT', 1)[1]
  return row and position_of(stream, row) == position and row or nil
end

-- The position of the first record written at or after a time; one past the last when none is. Nil, and where, when
-- one is missing.
local function position_at(stream, shard, first, last, time_us)
  local low, high = first, last + 1
  while low < high do
    local middle = math.floor((low + high) / 2)
    local row = row_at(stream, shard, middle)
    if not row then return nil, middle end
    if tonumber(row[2][6]) < time_us then low = middle + 1 else high = middle end
  end
  return low
end

-- Appends entries that lie in ARGV from `base` on, `width` values each: shard, key, payload, more. Nothing is
-- appended, and the second value says what is missing, where a shard is not there any more: what follows would look
-- like the whole of it.
local function append(stream, base, count, width)
  local known = {}
  for place = base, base + (count - 1) * width, width do
    local shard = ARGV[place]
    if not known[shard] then
      known[shard] = true
      local gone = missing_whole(shard, last_of(shard))
      if gone then return nil, gone end
    end
  end
  local written = math.max(stream.written, now_us())
  local at = text(written)
  local last, keys, places = {}, {}, {}
  -- This runs once for each record of the bus: locals are what Lua is fast with.
  local call, format, arguments, birth = redis.call, string.format, ARGV, stream.birth
  local place = base
  for entry = 1, count do
    local shard = arguments[place]
    local key, position = keys[shard], last[shard]
    if not key then
      key, position = shard_key(shard), last_of(shard)
      keys[shard] = key
    end
    position = position + 1
    call('XADD', key, format('%s-%.0f', birth, position), 'k', arguments[place + 1], 'p', arguments[place + 2], 't', at)
    last[shard] = position
    places[entry] = position
    place = place + width
  end
  local fields, told = { 'written', at }, {}
  for shard, position in pairs(last) do
    fields[#fields + 1] = 'last:' .. shard
    fields[#fields + 1] = text(position)
    told[#told + 1] = shard
  end
  redis.call('HSET', KEYS[1], unpack(fields))
  redis.call('PUBLISH', KEYS[1], table.concat(told, ' '))
  return places
end
