-- A lock is a line of owners, and the first in line holds it. Redis's own clock decides whose time is over.
-- KEYS: line (zset of owners by their number in the line), until (zset of owners by the end of their time, in ms).
local now = (function()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end)()

local function drop(owner)
  redis.call('ZREM', KEYS[2], owner)
  return redis.call('ZREM', KEYS[1], owner)
end

for _, owner in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now)) do drop(owner) end

-- The owner's time ends `ttl` ms from now; the keys vanish with the last of them.
local function extend(owner, ttl)
  redis.call('ZADD', KEYS[2], now + ttl, owner)
  local last = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')[2]
  for _, key in ipairs(KEYS) do redis.call('PEXPIREAT', key, last) end
end
