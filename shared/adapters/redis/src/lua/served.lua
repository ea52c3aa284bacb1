-- Runs of one kind have ended: corrects what their queues were charged to what they took. Nothing becomes ready by it.
-- KEYS: queues, ready, idle, present. ARGV: per queue: tenant, the seconds that its runs took beyond what was charged.
local keys = open(KEYS[1], KEYS[2], KEYS[3], KEYS[4])
for i = 1, #ARGV, 2 do
  local hint = load(keys, ARGV[i])
  if hint then
    charge(keys, hint, number(ARGV[i + 1]))
    place(keys, ARGV[i], hint)
  end
end
return redis.status_reply('OK')
