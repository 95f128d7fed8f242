-- Reads records. ARGV[3]: the shard. ARGV[4]: from where, with ARGV[5] as its position or time.
-- ARGV[6], ARGV[7]: the most records and bytes.
local stream = about()
if not stream then return { 'none' } end
local shard = ARGV[3]
if tonumber(shard) < 0 or tonumber(shard) >= stream.shards then return { 'no-shard' } end
local last = last_of(shard)
local gone = missing_whole(shard, last)
if gone then return gone end
local first = first_of(stream, shard, last)
local from, where = ARGV[4], tonumber(ARGV[5])
local next = first
if from == 'end' then next = last + 1 end
if from == 'after' then next = where + 1 end
if from == 'record' then next = math.max(where, 1) end
if from == 'at' then
  local at, hole = position_at(stream, shard, first, last, where)
  if hole then return missing_at(shard, hole) end
  next = at
end
if next > last + 1 then return { 'beyond', last } end
if next < first then return { 'gone', first } end

local records_max, bytes_max = tonumber(ARGV[6]), tonumber(ARGV[7])
local given, taken, bytes, full = {}, 0, 0, false
local format, birth = string.format, stream.birth
-- A few at first, to see how large they are.
local ask = 16
while not full and taken < records_max and next + taken <= last do
  ask = math.min(ask, records_max - taken)
  local rows = redis.call('XRANGE', shard_key(shard), id(stream, next + taken), '+', 'COUNT', ask)
  local is_missing = #rows == 0
  for _, row in ipairs(rows) do
    -- Positions are dense: which id comes next is known.
    if row[1] ~= format('%s-%.0f', birth, next + taken) then
      is_missing = true
      break
    end
    local values = row[2]
    local key, payload = values[2], values[4]
    local size = #key + #payload
    if taken > 0 and bytes + size > bytes_max then
      full = true
      break
    end
    local place = 3 * taken
    given[place + 1], given[place + 2], given[place + 3] = key, payload, values[6]
    taken, bytes = taken + 1, bytes + size
  end
  -- Those before it are handed out first.
  if is_missing then
    if taken == 0 then return missing_at(shard, next) end
    break
  end
  ask = math.max(1, math.min(1024, math.ceil((bytes_max - bytes) / (bytes / taken))))
end
local lag_ms = 0
if next + taken <= last then
  local row = row_at(stream, shard, next + taken)
  if row then lag_ms = math.floor(math.max(0, now_us() - tonumber(row[2][6])) / 1000) end
end
return { 'ok', stream.generation, next, last, lag_ms, given }
