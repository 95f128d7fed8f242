-- Tells of a stream and of the first and the last position of each shard.
local stream = about()
if not stream then return { 'none' } end
local told = { 'ok', stream.generation, stream.birth }
for shard = 0, stream.shards - 1 do
  local last = last_of(shard)
  told[#told + 1] = first_of(stream, text(shard), last)
  told[#told + 1] = last
end
return told
