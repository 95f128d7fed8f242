-- What is done to a group. KEYS[1] to KEYS[4]: its cursors, its members by until when they live,
-- its parked records, and their order. ARGV[3]: what to do.
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local what = ARGV[3]
if what == 'list' then return { 'ok', now_ms, redis.call('HGETALL', KEYS[1]) } end
if what == 'beat' then
  redis.call('ZADD', KEYS[2], now_ms + tonumber(ARGV[5]), ARGV[4])
elseif what == 'leave' then
  redis.call('ZREM', KEYS[2], ARGV[4])
elseif what == 'members' then
  -- Those that are gone go away first; this frees memory and so works when it is full.
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now_ms)
  return { 'ok', redis.call('ZRANGE', KEYS[2], 0, -1) }
elseif what == 'parked' then
  local names = redis.call('ZRANGEBYLEX', KEYS[4], ARGV[4], '+', 'LIMIT', 0, ARGV[5])
  if #names == 0 then return { 'ok', {}, {} } end
  return { 'ok', names, redis.call('HMGET', KEYS[3], unpack(names)) }
elseif what == 'retry' then
  local before = redis.call('HGET', KEYS[3], ARGV[4])
  if not before then return { 'not-parked' } end
  redis.call('HSET', KEYS[3], ARGV[4], (string.gsub(before, '^(%d+) %d', '%1 1', 1)))
elseif what == 'drop' then
  redis.call('HDEL', KEYS[3], ARGV[4])
  redis.call('ZREM', KEYS[4], ARGV[4])
end
return { 'ok' }
