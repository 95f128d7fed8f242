-- Makes a stream. ARGV[3]: how many shards.
local stream = about()
if stream then return { 'ok', stream.shards } end
-- What an earlier stream of that name left when the fact that it was there got lost.
for shard = 0, tonumber(ARGV[3]) - 1 do redis.call('UNLINK', shard_key(text(shard))) end
redis.call('UNLINK', KEYS[2])
local birth = text(now_us())
redis.call('HSET', KEYS[1], 'birth', birth, 'generation', birth, 'shards', ARGV[3], 'run', ARGV[1],
  'kept', ARGV[2], 'written', '0')
return { 'ok', tonumber(ARGV[3]) }
