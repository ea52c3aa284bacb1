-- Picks the next queue. Kinds take turns; within a kind the lowest virtual time wins.
-- KEYS: marker, latest kind, then per kind: queues, ready, idle, present. ARGV: how many jobs are wanted at most, then
-- the kinds. Returns {'blank'}, {'nothing'} or {kind, tenant, n, estimate}.
local FORGOTTEN_AT_ONCE = 100 -- idle queues; keeps the script short, the next pick goes on

if redis.call('EXISTS', KEYS[1]) == 0 then return { 'blank' } end

local function keys_of(index)
  local first = 3 + (index - 1) * 4
  -- Without the present: a pick sets it.
  return { queues = KEYS[first], ready = KEYS[first + 1], idle = KEYS[first + 2], present = KEYS[first + 3] }
end

local function forget_idle(keys)
  local tenants = redis.call('ZRANGEBYSCORE', keys.idle, '-inf', exact(keys.now), 'LIMIT', 0, FORGOTTEN_AT_ONCE)
  for _, tenant in ipairs(tenants) do
    redis.call('ZREM', keys.idle, tenant)
    redis.call('HDEL', keys.queues, tenant)
  end
end

local function pick(keys, want)
  while true do
    local first = redis.call('ZRANGE', keys.ready, 0, 0)[1]
    if not first then return nil end
    local hint = load(keys, first)
    local n = hint and math.min(want, left(hint)) or 0
    if n > 0 then
      set_present(keys, hint.virtual_time)
      hint.picked = hint.picked + n
      hint.arrived = false
      charge(keys, hint, n * hint.estimate)
      place(keys, first, hint)
      forget_idle(keys)
      return first, n, hint.estimate
    end
    -- Only somebody else's hands leave a queue in the ready set that is not ready.
    redis.call('ZREM', keys.ready, first)
  end
end

local want = number(ARGV[1])
local kinds = #ARGV - 1
if want < 1 then return { 'nothing' } end
local latest = redis.call('GET', KEYS[2])
local turn = 0
for index = 1, kinds do
  if ARGV[index + 1] == latest then turn = index end
end
for step = 1, kinds do
  local index = (turn + step - 1) % kinds + 1
  local tenant, n, estimate = pick(keys_of(index), want)
  if tenant then
    redis.call('SET', KEYS[2], ARGV[index + 1])
    return { ARGV[index + 1], tenant, string.format('%d', n), exact(estimate) }
  end
end
return { 'nothing' }
