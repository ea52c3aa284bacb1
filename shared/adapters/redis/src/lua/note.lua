-- Takes snapshots of one kind's queues in, and wakes the pickers when one became ready.
-- KEYS: queues, ready, idle, present. ARGV: the wake-up channel, 1 to forget what is in hand (also of what is
-- known already, or known better) or 0, then per queue: tenant, version, claimable, weight, idle (0 or 1),
-- estimate (seconds).
local keys = open(KEYS[1], KEYS[2], KEYS[3], KEYS[4])
local forget = ARGV[2] == '1'
local woke = false
for i = 3, #ARGV, 6 do
  local tenant, version = ARGV[i], number(ARGV[i + 1])
  local known = load(keys, tenant)
  if not known or version > known.version or (forget and version == known.version) then
    local became_ready = place(keys, tenant, {
      version = version, claimable = number(ARGV[i + 2]), weight = number(ARGV[i + 3]),
      picked = known and not forget and known.picked or 0,
      found_empty = false, arrived = known and known.arrived or false,
      idle = ARGV[i + 4] == '1', estimate = number(ARGV[i + 5]),
      virtual_time = known and known.virtual_time or 0,
    })
    woke = became_ready or woke
  elseif forget then
    -- What is known is newer; who had some of it in hand may be dead all the same.
    known.picked, known.found_empty = 0, false
    woke = place(keys, tenant, known) or woke
  end
end
if woke then redis.call('PUBLISH', ARGV[1], '') end
return redis.status_reply('OK')
