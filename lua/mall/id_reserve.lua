-- id_reserve: takes one id for an idempotency key, or finds the id that the key took before, with what
-- was kept then. For orders and users alike.
-- KEYS: 2
--   KEYS[1] counter, {ord:<s>}:seq or {usr:<s>}:seq
--   KEYS[2] record of the key, {ord:<s>}:k:<uid>:<key> or {usr:<s>}:k:<mobile>:<key>
-- ARGV[1] what was asked for, as text, ARGV[2] what is kept with the id, as text, ARGV[3] life of the
-- record in ms, or "": take no id, only find
-- Returns {"OK", n, kept}: the caller turns n into the id n*S+s; {"FAIL", reason}: key_reused, when the
-- key came with another request before; no_key, when there is nothing to find.
-- Repeat: finds the same id and what was kept with it.

if #KEYS ~= 2 or #ARGV ~= 3 then
  return redis.error_reply("id_reserve: wants 2 keys and 3 arguments")
end
local asked, n, kept = unpack(redis.call("HMGET", KEYS[2], "asked", "n", "kept"))
if asked and asked ~= ARGV[1] then
  return { "FAIL", "key_reused: this idempotency key came with another request before" }
end
if n then
  return { "OK", n, kept }
end
if ARGV[3] == "" then
  return { "FAIL", "no_key: this idempotency key is not known" }
end
n = tostring(redis.call("INCR", KEYS[1]))
redis.call("HSET", KEYS[2], "asked", ARGV[1], "n", n, "kept", ARGV[2])
redis.call("PEXPIRE", KEYS[2], ARGV[3])
return { "OK", n, ARGV[2] }
