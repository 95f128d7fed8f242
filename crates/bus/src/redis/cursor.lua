-- What is done to a cursor; the rules are those of `cursors/rules.rs`.
-- KEYS[1]: the group's cursors, by shard. ARGV[3]: what to do. ARGV[4]: the shard; more as needed.
-- A cursor is kept as: fence, generation, position, ended, owner, until; '-' for what is not there.
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function text(number) return string.format('%.0f', number) end

local stored = redis.call('HGET', KEYS[1], ARGV[4]) or '0 - - - - -'
local fence, generation, position, ended, owner, until_ms =
  string.match(stored, '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$')
if not fence then error('the cursor of shard ' .. ARGV[4] .. ' is unreadable') end
local held = owner ~= '-'
local live = held and tonumber(until_ms) > now_ms

local function keep()
  redis.call('HSET', KEYS[1], ARGV[4], table.concat({ fence, generation, position, ended, owner, until_ms }, ' '))
end

-- It rises with the time, so that no fence comes twice, even from a store that lost what it knew.
local function raise()
  fence = text(math.max(tonumber(fence) + 1, tonumber(time[1]) * 1000000 + tonumber(time[2])))
end

local what = ARGV[3]
if what == 'acquire' then
  -- ARGV[5], ARGV[6]: the worker, for how long.
  if live and owner ~= ARGV[5] then return { 'taken' } end
  raise()
  owner, until_ms = ARGV[5], text(now_ms + tonumber(ARGV[6]))
  keep()
  return { 'ok', fence, generation, position, ended }
end
if what == 'reset' then
  -- ARGV[5] to ARGV[7]: generation, position, ended.
  if live then return { 'leased', owner, tonumber(until_ms) - now_ms } end
  raise()
  generation, position, ended, owner, until_ms = ARGV[5], ARGV[6], ARGV[7], '-', '-'
  keep()
  return { 'ok' }
end

-- What is left needs the lease. ARGV[5], ARGV[6]: the worker and its fence.
if not held or owner ~= ARGV[5] or fence ~= ARGV[6] then return { 'lost', fence } end
if what == 'renew' then
  until_ms = text(now_ms + tonumber(ARGV[7]))
  keep()
elseif what == 'release' then
  owner, until_ms = '-', '-'
  keep()
elseif what == 'commit' then
  -- ARGV[7] to ARGV[9]: generation, position, ended.
  if generation ~= '-' and generation ~= ARGV[7] then return { 'diverged', generation } end
  if position ~= '-' and (ARGV[8] < position or (ended == '1' and ARGV[9] == '0')) then
    return { 'backwards', position }
  end
  generation, position, ended = ARGV[7], ARGV[8], ARGV[9]
  keep()
elseif what == 'park' then
  -- KEYS[2]: the parked records. KEYS[3]: their order. ARGV[7] to ARGV[9]: its name, the reason, the most.
  local before = redis.call('HGET', KEYS[2], ARGV[7])
  local count = redis.call('HLEN', KEYS[2])
  if not before and count >= tonumber(ARGV[9]) then return { 'full', count } end
  local tries = before and tonumber(string.match(before, '^(%d+)')) or 0
  local at_us = text(tonumber(time[1]) * 1000000 + tonumber(time[2]))
  redis.call('HSET', KEYS[2], ARGV[7], (tries + 1) .. ' 0 ' .. at_us .. ' ' .. ARGV[8])
  redis.call('ZADD', KEYS[3], 0, ARGV[7])
end
return { 'ok' }
