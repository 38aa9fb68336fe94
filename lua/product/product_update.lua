-- product_update: changes fields of a product, not its stock (product_set_stock does that).
-- KEYS: 1
--   KEYS[1] product hash, {prd:<id>}:h
-- ARGV[1] version it was read at, or ""; then pairs: field (name, desc, amount, status), new value
-- Returns {"OK", new version}, or {"FAIL", reason}: no_product, changed_meanwhile.
-- Repeat: the same values again; with a version the second is changed_meanwhile.

if #KEYS ~= 1 or #ARGV < 1 or #ARGV > 9 or #ARGV % 2 == 0 then
  return redis.error_reply("product_update: wants 1 key, a version and up to 4 pairs")
end
local allowed = { name = "text", desc = "text", amount = "number", status = "number" }
for i = 2, #ARGV, 2 do
  local kind, value = allowed[ARGV[i]], ARGV[i + 1]
  if not kind then
    return redis.error_reply("product_update: field " .. ARGV[i] .. " cannot be set here")
  elseif kind == "number" and (not value:find("^%d+$") or tonumber(value) > 4294967295) then
    return redis.error_reply("product_update: field " .. ARGV[i]
      .. " must be a whole number, 0 to 4294967295")
  end
end
local status, ver = unpack(redis.call("HMGET", KEYS[1], "status", "ver"))
if not status or status == "9" then
  return { "FAIL", "no_product: there is no such product" }
end
if ARGV[1] ~= "" and ARGV[1] ~= ver then
  return { "FAIL", "changed_meanwhile: the product is at version " .. ver .. ", not " .. ARGV[1] }
end
for i = 2, #ARGV, 2 do
  redis.call("HSET", KEYS[1], ARGV[i], ARGV[i + 1])
end
local time = redis.call("TIME")
redis.call("HSET", KEYS[1], "utime", time[1] .. string.format("%03d", math.floor(time[2] / 1000)))
return { "OK", tostring(redis.call("HINCRBY", KEYS[1], "ver", 1)) }
