#!lua
-- Replaces one record if it is still the one that was loaded.
--
-- KEYS    1: the record; 2: the marker of its bucket.
-- ARGV    1: the version that was loaded (16 bytes), empty where there was no record;
--         2: what is written, version first; empty to remove the record;
--         3: when the record lapses, in milliseconds since the Unix epoch; empty for never;
--         4: where ARGV[1] is empty, the name that the marker must begin with, 16 bytes;
--         4, 5: else, where the record was not loaded for this change: the time that was decided by, and how
--         much later it may be by now, in milliseconds.
-- Result  1: done; 0: the record is another one, or the time; -1: the marker is missing or another one.
-- Cost    O(1): one read of 16 bytes, one write.
--
-- The write comes last: where the server refuses it, nothing was changed.
local version = redis.call('GETRANGE', KEYS[1], 0, 15)
if version ~= ARGV[1] then
  return 0
end
if version == '' then
  local marker = redis.call('GET', KEYS[2])
  if not marker or string.sub(marker, 1, 16) ~= ARGV[4] then
    return -1
  end
elseif ARGV[4] then
  local time = redis.call('TIME')
  local late = time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[4]
  if late < 0 or late > tonumber(ARGV[5]) then
    return 0
  end
end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
elseif ARGV[3] == '' then
  redis.call('SET', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PXAT', ARGV[3])
end
return 1
