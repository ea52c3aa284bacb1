-- The visit of a picked queue is over: what was picked is no longer in hand, and what was not claimed is not charged.
-- Wakes the pickers when the queue became ready by it.
-- KEYS: queues, ready, idle, present. ARGV: the wake-up channel, tenant, how many were picked, 1 if nothing was found,
-- the seconds charged for those that were not claimed.
local keys = open(KEYS[1], KEYS[2], KEYS[3], KEYS[4])
local hint = load(keys, ARGV[2])
if hint then
    hint.picked = math.max(hint.picked - number(ARGV[3]), 0)
  hint.found_empty = hint.found_empty or (ARGV[4] == '1' and not hint.arrived)
  charge(keys, hint, -number(ARGV[5]))
  if place(keys, ARGV[2], hint) then redis.call('PUBLISH', ARGV[1], '') end
end
return redis.status_reply('OK')
