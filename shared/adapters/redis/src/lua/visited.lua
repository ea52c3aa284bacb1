-- Says of queues of one kind whether a visit would find something, and wakes the pickers when one became ready.
-- KEYS: queues, ready, idle, present. ARGV: the wake-up channel, 1 if a visit found nothing or 0 if messages have
-- arrived since, then tenants.
local keys = { queues = KEYS[1], ready = KEYS[2], idle = KEYS[3], present = KEYS[4] }
local now = present(keys)
local woke = false
for i = 3, #ARGV do
  local hint = load(keys, ARGV[i])
  if hint then
    hint.found_empty = ARGV[2] == '1'
    local became_ready = place(keys, ARGV[i], hint, now)
    woke = became_ready or woke
  end
end
if woke then redis.call('PUBLISH', ARGV[1], '') end
return redis.status_reply('OK')
