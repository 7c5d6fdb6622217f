#!lua
-- Puts a marker in the place of one that has the same name.
--
-- KEYS    1: the marker of a bucket.
-- ARGV    1: the name, which is how a marker begins; 2: the marker.
-- Result  1: done; 0: there is no marker, or another dataset's, and nothing was changed.
-- Cost    O(1): one read of 16 bytes, one write.
--
-- It never makes a marker: where there is none, the bucket was emptied, and that must show.
local name = redis.call('GETRANGE', KEYS[1], 0, 15)
if name == '' or name ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2])
return 1
