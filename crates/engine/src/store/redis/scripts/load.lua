#!lua flags=allow-oom
-- Reads one record and the store's clock.
--
-- KEYS    1: the record; 2: the marker of its bucket.
-- ARGV    none.
-- Result  where there is a record, one string: seconds and microseconds of TIME, a blank after each, and
--         the record; else {TIME, the marker or nothing}: whether the record's absence can be believed is
--         for the caller to say, by the marker.
-- Cost    O(1): one read of at most some kilobytes; a second one where there is no record.
--
-- One string takes less to send and to read than a list of lists, and nearly every load finds a record.
--
-- It only reads and yet does not say so: a server that must not write (a replica; a primary that too
-- few replicas follow) then refuses it, instead of answering with what may be old. Memory that has run
-- out makes nothing old, so that alone does not stop it.
local record = redis.call('GET', KEYS[1])
local time = redis.call('TIME')
if record then
  return time[1] .. ' ' .. time[2] .. ' ' .. record
end
return {time, redis.call('GET', KEYS[2])}
