-- Appends records of another stream, each of them once: beside the stream, at KEYS[2], stands how far
-- each cursor has brought it. ARGV[3]: the birth of the stream that the caller knows. ARGV[4] to
-- ARGV[8]: the cursor, its fence, its generation, where it is and where it is afterwards.
-- ARGV[9]: how many records; then for each: shard, key, payload, position in its own stream.
-- Positions have leading zeros, so that they sort as text.
local stream = about()
if not stream then return { 'none' } end
if stream.birth ~= ARGV[3] then return { 'anew' } end
local stored = redis.call('HGET', KEYS[2], ARGV[4])
local upto = string.rep('0', #ARGV[7])
if stored then
  local fence, generation, position = string.match(stored, '^(%d+) (%d+) (%d+)$')
  if tonumber(ARGV[5]) < tonumber(fence) then return { 'lost', fence } end
  if generation ~= ARGV[6] then return { 'diverged', generation } end
  upto = position
end
if upto < ARGV[7] then return { 'moved', upto } end
-- What is there already is passed over.
local count, skipped = tonumber(ARGV[9]), 0
while skipped < count and ARGV[13 + skipped * 4] <= upto do skipped = skipped + 1 end
if skipped < count then
  local _, gone = append(stream, 10 + skipped * 4, count - skipped, 4)
  if gone then return gone end
end
if ARGV[8] > upto then upto = ARGV[8] end
redis.call('HSET', KEYS[2], ARGV[4], ARGV[5] .. ' ' .. ARGV[6] .. ' ' .. upto)
return { 'ok', count - skipped }
