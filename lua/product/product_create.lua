-- product_create: writes a product under an id that product_new_id gave.
-- KEYS: 1
--   KEYS[1] product hash, {prd:<id>}:h
-- ARGV[1] id, [2] name, [3] desc, [4] stock, [5] amount (price), [6] status (0 on sale, 1 off the shelf)
-- Returns {"OK", id}, or {"FAIL", "product_exists: …"}.
-- Repeat: answers product_exists and changes nothing.

if #KEYS ~= 1 or #ARGV ~= 6 then
  return redis.error_reply("product_create: wants 1 key and 6 arguments")
end
for i = 4, 6 do
  if not ARGV[i]:find("^%d+$") or tonumber(ARGV[i]) > 4294967295 then
    return redis.error_reply("product_create: ARGV[" .. i .. "] must be a whole number, 0 to 4294967295")
  end
end
if redis.call("EXISTS", KEYS[1]) == 1 then
  return { "FAIL", "product_exists: product " .. ARGV[1] .. " exists already" }
end
local time = redis.call("TIME")
local now = time[1] .. string.format("%03d", math.floor(time[2] / 1000))
redis.call("HSET", KEYS[1], "id", ARGV[1], "name", ARGV[2], "desc", ARGV[3], "stock", ARGV[4],
  "amount", ARGV[5], "status", ARGV[6], "ver", "1", "ctime", now, "utime", now)
return { "OK", ARGV[1] }
