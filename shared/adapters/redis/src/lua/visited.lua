-- The visit of a picked queue is over: what was picked is no longer in hand. Wakes the pickers when the queue became
-- ready by it.
-- KEYS: queues, ready, idle, present. ARGV: the wake-up channel, tenant, how many were picked, 1 if nothing was found.
local keys = { queues = KEYS[1], ready = KEYS[2], idle = KEYS[3], present = KEYS[4] }
local hint = load(keys, ARGV[2])
if hint then
  hint.picked = math.max(hint.picked - number(ARGV[3]), 0)
  hint.found_empty = hint.found_empty or (ARGV[4] == '1' and not hint.arrived)
  if place(keys, ARGV[2], hint, present(keys)) then redis.call('PUBLISH', ARGV[1], '') end
end
return redis.status_reply('OK')
