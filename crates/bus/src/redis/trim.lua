-- Lets go of records. ARGV[3]: the shard. ARGV[4]: up to this position, whatever else is said.
-- ARGV[5]: of those written before this time. ARGV[6]: of all but so many, none: as many as there are.
-- ARGV[7]: age does not reach beyond this position.
-- It writes nothing but less, so that it goes through when the memory is full.
local birth, shards = unpack(redis.call('HMGET', KEYS[1], 'birth', 'shards'))
if not birth then return { 'none' } end
local stream = { birth = birth }
local shard = ARGV[3]
if tonumber(shard) < 0 or tonumber(shard) >= tonumber(shards) then return { 'no-shard' } end
local last = last_of(shard)
local gone = missing_whole(shard, last)
if gone then return gone end
local first = first_of(stream, shard, last)
local aged = 0
if tonumber(ARGV[5]) > 0 then
  local at, hole = position_at(stream, shard, first, last, tonumber(ARGV[5]))
  if hole then return missing_at(shard, hole) end
  aged = at - 1
end
local protected = tonumber(ARGV[7])
local upto = math.min(last, math.max(tonumber(ARGV[4]), math.min(aged, protected)))
if ARGV[6] ~= '' then upto = math.max(upto, last - tonumber(ARGV[6])) end
if upto >= first then
  redis.call('XTRIM', shard_key(shard), 'MINID', id(stream, upto + 1))
end
return { 'ok', math.max(first, upto + 1), math.max(0, upto + 1 - first), aged > protected and '1' or '0' }
