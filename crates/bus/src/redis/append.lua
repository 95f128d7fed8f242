-- Appends entries. ARGV[3]: the birth of the stream that the caller knows. ARGV[4]: how many entries;
-- then for each: shard, key, payload.
local stream = about()
if not stream then return { 'none' } end
if stream.birth ~= ARGV[3] then return { 'anew' } end
local places, gone = append(stream, 5, tonumber(ARGV[4]), 3)
return gone or { 'ok', places }
