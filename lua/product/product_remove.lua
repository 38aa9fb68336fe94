-- product_remove: takes a product off for good (status 9). The record stays, so that a compensation
-- can still give stock back.
-- KEYS: 1
--   KEYS[1] product hash, {prd:<id>}:h
-- ARGV: none
-- Returns {"OK", ""}, or {"FAIL", "no_product: …"}.
-- Repeat: answers no_product.

if #KEYS ~= 1 or #ARGV ~= 0 then
  return redis.error_reply("product_remove: wants 1 key and no argument")
end
local status = redis.call("HGET", KEYS[1], "status")
if not status or status == "9" then
  return { "FAIL", "no_product: there is no such product" }
end
local time = redis.call("TIME")
redis.call("HSET", KEYS[1], "status", "9",
  "utime", time[1] .. string.format("%03d", math.floor(time[2] / 1000)))
redis.call("HINCRBY", KEYS[1], "ver", 1)
return { "OK", "" }
