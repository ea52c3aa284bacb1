-- What all ready-set scripts share: the hints of one kind's queues, kept for weighted fair queueing.
-- `fair.rs` of the embedded adapter does the same in memory, and tells the rules and their reasons; the contract suite
-- holds both to them.
--
-- queues (hash)  tenant -> "version claimable weight picked found_empty arrived idle estimate virtual_time"
-- ready  (zset)  tenants that may be picked, by virtual time; ties in the order of the tenant's id
-- idle   (zset)  queues with nothing waiting or running that are still ahead of the present, by virtual time
-- present (string) the virtual time of the latest pick

local function number(text) return tonumber(text) or 0 end

-- 17 digits carry a double there and back unchanged.
local function exact(value) return string.format('%.17g', value) end

local function load(keys, tenant)
  local line = redis.call('HGET', keys.queues, tenant)
  if not line then return nil end
  local version, claimable, weight, picked, found_empty, arrived, idle, estimate, virtual_time =
    string.match(line, '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$')
  if not version then return nil end -- of another release: unknown until the next snapshot
  return {
    version = number(version), claimable = number(claimable), weight = number(weight), picked = number(picked),
    found_empty = found_empty == '1', arrived = arrived == '1', idle = idle == '1',
    estimate = number(estimate), virtual_time = number(virtual_time),
  }
end

local function save(keys, tenant, hint)
  redis.call('HSET', keys.queues, tenant, string.format('%.0f %d %d %d %d %d %d %.17g %.17g', hint.version,
    hint.claimable, hint.weight, hint.picked, hint.found_empty and 1 or 0, hint.arrived and 1 or 0,
    hint.idle and 1 or 0, hint.estimate, hint.virtual_time))
end

local function left(hint)
  if hint.found_empty then return 0 end
  return math.max(hint.claimable - hint.picked, 0)
end

-- The keys of a kind, with the present, which is up to date as long as the script runs.
local function open(queues, ready, idle, present)
  return { queues = queues, ready = ready, idle = idle, present = present, now = number(redis.call('GET', present)) }
end

local function set_present(keys, now)
  keys.now = now
  redis.call('SET', keys.present, exact(now))
end

-- Charges these seconds. Negative ones are given back, as far as the present at most.
local function charge(keys, hint, seconds)
  local before = hint.virtual_time
  hint.virtual_time = math.max(before + seconds / hint.weight, math.min(before, keys.now))
end

-- When nobody wants anything, nobody owes anything: the present catches up with all.
local function settle_if_all_are_idle(keys)
  if redis.call('HLEN', keys.queues) ~= redis.call('ZCARD', keys.idle) then return end
  local latest = redis.call('ZREVRANGE', keys.idle, 0, 0, 'WITHSCORES')[2]
  if latest and number(latest) > keys.now then set_present(keys, number(latest)) end
end

-- Puts the queue where it belongs now. True when it became ready.
local function place(keys, tenant, hint)
  local was_ready = redis.call('ZREM', keys.ready, tenant) == 1
  redis.call('ZREM', keys.idle, tenant)
  local is_ready = left(hint) > 0
  if is_ready then
    if not was_ready then hint.virtual_time = math.max(hint.virtual_time, keys.now) end
    redis.call('ZADD', keys.ready, exact(hint.virtual_time), tenant)
  elseif hint.idle then
    if hint.virtual_time <= keys.now then
      redis.call('HDEL', keys.queues, tenant)
      settle_if_all_are_idle(keys)
      return false
    end
    redis.call('ZADD', keys.idle, exact(hint.virtual_time), tenant)
  end
  save(keys, tenant, hint)
  if hint.idle and not is_ready then settle_if_all_are_idle(keys) end
  return is_ready and not was_ready
end
