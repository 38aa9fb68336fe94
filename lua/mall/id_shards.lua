-- id_shards: fixes at the first start of a service over how many shards its ids are spread, and tells the
-- number in force.
-- KEYS: 1
--   KEYS[1] meta hash, {ord:meta}, {usr:meta} or {scr:meta}
-- ARGV[1] number of shards
-- Returns {"OK", number in force}.
-- Repeat: what is stored is never changed.

if #KEYS ~= 1 or #ARGV ~= 1 then
  return redis.error_reply("id_shards: wants 1 key and 1 argument")
end
if not ARGV[1]:find("^[1-9]%d*$") then
  return redis.error_reply("id_shards: ARGV[1] (shards) must be a whole number, 1 or more")
end
redis.call("HSETNX", KEYS[1], "shards", ARGV[1])
return { "OK", redis.call("HGET", KEYS[1], "shards") }
