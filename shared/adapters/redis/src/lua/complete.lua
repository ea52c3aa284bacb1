-- A rebuild ends: the marker is set, unless somebody else has begun a rebuild of their own meanwhile, who will set it.
-- KEYS: marker, rebuild. ARGV: who rebuilds, the wake-up channel.
if redis.call('GET', KEYS[2]) == ARGV[1] then
  redis.call('SET', KEYS[1], '1')
  redis.call('PUBLISH', ARGV[2], '')
end
return redis.status_reply('OK')
