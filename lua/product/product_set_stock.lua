-- product_set_stock: sets the stock to a counted number, 0 included.
-- KEYS: 1
--   KEYS[1] product hash, {prd:<id>}:h
-- ARGV[1] stock, 0 … 4294967295
-- Returns {"OK", former stock}, or {"FAIL", "no_product: …"}.
-- Repeat: sets the same number again; sales between the two are overwritten, as with any count.

if #KEYS ~= 1 or #ARGV ~= 1 then
  return redis.error_reply("product_set_stock: wants 1 key and 1 argument")
end
if not ARGV[1]:find("^%d+$") or tonumber(ARGV[1]) > 4294967295 then
  return redis.error_reply("product_set_stock: ARGV[1] (stock) must be a whole number, 0 to 4294967295")
end
local status, stock = unpack(redis.call("HMGET", KEYS[1], "status", "stock"))
if not status or status == "9" then
  return { "FAIL", "no_product: there is no such product" }
end
local time = redis.call("TIME")
redis.call("HSET", KEYS[1], "stock", ARGV[1],
  "utime", time[1] .. string.format("%03d", math.floor(time[2] / 1000)))
redis.call("HINCRBY", KEYS[1], "ver", 1)
return { "OK", stock }
