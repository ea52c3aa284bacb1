-- ARGV: owner, ttl in ms. Returns 1 if the lock is this owner's.
if redis.call('ZRANGE', KEYS[1], 0, 0)[1] ~= ARGV[1] then return 0 end
extend(ARGV[1], tonumber(ARGV[2]))
return 1
