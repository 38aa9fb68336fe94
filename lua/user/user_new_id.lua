-- user_new_id: the next number of a shard of users; the caller turns n into the id n*S+s.
-- KEYS: 1
--   KEYS[1] counter, {usr:<s>}:seq
-- ARGV: none
-- Returns {"OK", n}.
-- Repeat: takes another number; gaps are harmless.

if #KEYS ~= 1 or #ARGV ~= 0 then
  return redis.error_reply("user_new_id: wants 1 key and no argument")
end
return { "OK", tostring(redis.call("INCR", KEYS[1])) }
