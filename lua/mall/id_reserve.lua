-- id_reserve: takes one id for an idempotency key, or finds the id that the key took before. For orders
-- and users alike.
-- KEYS: 2
--   KEYS[1] counter, {ord:<s>}:seq or {usr:<s>}:seq
--   KEYS[2] record of the key, {ord:<s>}:k:<uid>:<key> or {usr:<s>}:k:<mobile>:<key>
-- ARGV[1] what was asked for, as text, ARGV[2] life of the record in ms
-- Returns {"OK", n}: the caller turns n into the id n*S+s; {"FAIL", "key_reused: …"} when the key
-- came with another request before.
-- Repeat: finds the same id.

if #KEYS ~= 2 or #ARGV ~= 2 then
  return redis.error_reply("id_reserve: wants 2 keys and 2 arguments")
end
local asked, n = unpack(redis.call("HMGET", KEYS[2], "asked", "n"))
if asked and asked ~= ARGV[1] then
  return { "FAIL", "key_reused: this idempotency key came with another request before" }
end
if not n then
  n = tostring(redis.call("INCR", KEYS[1]))
  redis.call("HSET", KEYS[2], "asked", ARGV[1], "n", n)
  redis.call("PEXPIRE", KEYS[2], ARGV[2])
end
return { "OK", n }
