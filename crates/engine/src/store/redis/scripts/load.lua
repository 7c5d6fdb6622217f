#!lua flags=allow-oom
-- Reads one record and the store's clock.
--
-- KEYS    1: the record; 2: the marker of its bucket.
-- ARGV    none.
-- Result  {TIME, the record}, or {TIME, nothing, the marker or nothing} where there is no record:
--         whether its absence can be believed is for the caller to say, by the marker.
-- Cost    O(1): one read of at most some kilobytes; a second one where there is no record.
--
-- It only reads and yet does not say so: a server that must not write (a replica; a primary that too
-- few replicas follow) then refuses it, instead of answering with what may be old. Memory that has run
-- out makes nothing old, so that alone does not stop it.
local record = redis.call('GET', KEYS[1])
if record then
  return {redis.call('TIME'), record}
end
return {redis.call('TIME'), false, redis.call('GET', KEYS[2])}
