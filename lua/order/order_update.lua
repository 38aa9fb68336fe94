-- order_update: sets the amount of an order that has not changed since it was read. Whose order it is
-- and what it costs was looked at then; every change of an order raises its version, so the version
-- tells that all of it still holds.
-- KEYS: 1
--   KEYS[1] order hash, {ord:<s>}:o:<id>
-- ARGV[1] version it was read at, ARGV[2] amount
-- Returns {"OK", new version}, or {"FAIL", "changed_meanwhile: …"}.
-- Repeat: answers changed_meanwhile.

if #KEYS ~= 1 or #ARGV ~= 2 then
  return redis.error_reply("order_update: wants 1 key and 2 arguments")
end
if not ARGV[2]:find("^%d+$") or tonumber(ARGV[2]) > 4294967295 then
  return redis.error_reply("order_update: ARGV[2] (amount) must be a whole number, 0 to 4294967295")
end
local ver = redis.call("HGET", KEYS[1], "ver")
if ARGV[1] ~= ver then
  return { "FAIL", "changed_meanwhile: the order is at version " .. (ver or "none") .. ", not " .. ARGV[1] }
end
local time = redis.call("TIME")
redis.call("HSET", KEYS[1], "amount", ARGV[2],
  "utime", time[1] .. string.format("%03d", math.floor(time[2] / 1000)))
return { "OK", tostring(redis.call("HINCRBY", KEYS[1], "ver", 1)) }
