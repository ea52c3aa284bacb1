-- ARGV: owner, ttl in ms. Returns how many are ahead in the line (0: the lock is held), and who is the first of it.
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
  redis.call('ZADD', KEYS[1], (tonumber(last) or 0) + 1, ARGV[1])
end
extend(ARGV[1], tonumber(ARGV[2]))
return {redis.call('ZRANK', KEYS[1], ARGV[1]), redis.call('ZRANGE', KEYS[1], 0, 0)[1]}
