-- Messages have arrived in queues of one kind: an empty visit of before no longer counts. Wakes the pickers when one
-- became ready.
-- KEYS: queues, ready, idle, present. ARGV: the wake-up channel, then tenants.
local keys = open(KEYS[1], KEYS[2], KEYS[3], KEYS[4])
local woke = false
for i = 2, #ARGV do
  local hint = load(keys, ARGV[i])
  if hint then
    hint.found_empty = false
    hint.arrived = true
    local became_ready = place(keys, ARGV[i], hint)
    woke = became_ready or woke
  end
end
if woke then redis.call('PUBLISH', ARGV[1], '') end
return redis.status_reply('OK')
