-- ARGV: owner. Returns 1 if it held the lock or stood in the line.
return drop(ARGV[1])
