-- order_update: changes the amount of an unpaid order of this user; nothing else of an order may
-- change, because the saga's books depend on it.
-- KEYS: 1
--   KEYS[1] order hash, {ord:<s>}:o:<id>
-- ARGV[1] uid, ARGV[2] amount, ARGV[3] version it was read at, or ""
-- Returns {"OK", new version}, or {"FAIL", reason}: no_order, not_unpaid, changed_meanwhile.
-- Repeat: the same amount again is the same amount; with a version the second is changed_meanwhile.

if #KEYS ~= 1 or #ARGV ~= 3 then
  return redis.error_reply("order_update: wants 1 key and 3 arguments")
end
if not ARGV[2]:find("^%d+$") or tonumber(ARGV[2]) > 4294967295 then
  return redis.error_reply("order_update: ARGV[2] (amount) must be a whole number, 0 to 4294967295")
end
local uid, status, ver, removed = unpack(redis.call("HMGET", KEYS[1], "uid", "status", "ver", "removed"))
if uid ~= ARGV[1] or removed then
  return { "FAIL", "no_order: there is no such order" }
end
if status ~= "0" then
  return { "FAIL", "not_unpaid: only an unpaid order (status 0) can be changed, this one is " .. status }
end
if ARGV[3] ~= "" and ARGV[3] ~= ver then
  return { "FAIL", "changed_meanwhile: the order is at version " .. ver .. ", not " .. ARGV[3] }
end
local time = redis.call("TIME")
redis.call("HSET", KEYS[1], "amount", ARGV[2],
  "utime", time[1] .. string.format("%03d", math.floor(time[2] / 1000)))
return { "OK", tostring(redis.call("HINCRBY", KEYS[1], "ver", 1)) }
