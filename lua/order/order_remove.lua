-- order_remove: takes an unpaid or invalid order out of the user's sight. The record stays, so that
-- the books still balance and a late compensation finds it.
-- KEYS: 2
--   KEYS[1] order hash, {ord:<s>}:o:<id>     KEYS[2] orders of the user, zset {ord:<s>}:u:<uid>
-- ARGV[1] uid, ARGV[2] id
-- Returns {"OK", ""}, or {"FAIL", reason}: no_order, order_paid, order_pending.
-- Repeat: answers no_order.

if #KEYS ~= 2 or #ARGV ~= 2 then
  return redis.error_reply("order_remove: wants 2 keys and 2 arguments")
end
local uid, status, removed = unpack(redis.call("HMGET", KEYS[1], "uid", "status", "removed"))
if uid ~= ARGV[1] or removed then
  return { "FAIL", "no_order: there is no such order" }
end
if status == "1" then
  return { "FAIL", "order_paid: a paid order cannot be removed" }
end
if status == "2" then
  return { "FAIL", "order_pending: the order is being paid with points, it cannot be removed yet" }
end
local time = redis.call("TIME")
redis.call("HSET", KEYS[1], "removed", "1",
  "utime", time[1] .. string.format("%03d", math.floor(time[2] / 1000)))
redis.call("HINCRBY", KEYS[1], "ver", 1)
redis.call("ZREM", KEYS[2], ARGV[2])
return { "OK", "" }
