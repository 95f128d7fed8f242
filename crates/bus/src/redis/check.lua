-- Looks whether each shard has every record from its first to its last: Redis counts them, so none is read.
local stream = about()
if not stream then return { 'none' } end
for number = 0, stream.shards - 1 do
  local shard = text(number)
  local last = last_of(shard)
  local gone = missing_whole(shard, last)
  if gone then return gone end
  local first = first_of(stream, shard, last)
  local lost = last + 1 - first - (last > 0 and redis.call('XLEN', shard_key(shard)) or 0)
  if lost > 0 then
    return missing(shard, text(lost) .. ' of the records from ' .. text(first) .. ' to ' .. text(last))
  end
  -- The first ones, or all: Redis since 7 says which was deleted last, other than by trimming.
  local told = last > 0 and redis.call('XINFO', 'STREAM', shard_key(shard)) or {}
  for place = 1, #told, 2 do
    if told[place] == 'max-deleted-entry-id' and told[place + 1] == id(stream, first - 1) then
      return missing_at(shard, first - 1)
    end
  end
end
return { 'ok' }
