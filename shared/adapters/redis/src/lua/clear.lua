-- A rebuild begins: everything known is forgotten, the marker first of all.
-- KEYS: marker, rebuild, latest kind, then all keys of all kinds. ARGV: who rebuilds.
redis.call('UNLINK', KEYS[1], unpack(KEYS, 3))
redis.call('SET', KEYS[2], ARGV[1])
return redis.status_reply('OK')
