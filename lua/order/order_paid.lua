-- order_paid: marks an unpaid order as paid, and leaves a message about it (lua/barrier/outbox.lua).
-- KEYS: 2
--   KEYS[1] order hash, {ord:<s>}:o:<id>     KEYS[2] outbox, {ord:<s>}:outbox
-- ARGV[1] amount that was paid, or "" when it is not to be compared
-- ARGV[2] gid of the message, or "" for none; ARGV[3] its action, ARGV[4] its payload
-- Returns {"OK", "1"}, or {"FAIL", reason}: no_order, order_invalid, order_pending,
-- amount_differs.
-- Repeat: a paid order answers OK again, is not changed, and leaves no second message.

if #KEYS ~= 2 or #ARGV ~= 4 then
  return redis.error_reply("order_paid: wants 2 keys and 4 arguments")
end
local status, amount, removed = unpack(redis.call("HMGET", KEYS[1], "status", "amount", "removed"))
if not status or removed then
  return { "FAIL", "no_order: there is no such order" }
end
if ARGV[1] ~= "" and ARGV[1] ~= amount then
  return { "FAIL", "amount_differs: the order costs " .. amount .. ", paid were " .. ARGV[1] }
end
if status == "9" then
  return { "FAIL", "order_invalid: the order is invalid and cannot be paid" }
end
if status == "2" then
  return { "FAIL", "order_pending: the order is being paid with points" }
end
if status == "0" then
  if ARGV[2] ~= "" then
    outbox(KEYS[2], ARGV[2], ARGV[3], ARGV[4])
  end
  local time = redis.call("TIME")
  redis.call("HSET", KEYS[1], "status", "1",
    "utime", time[1] .. string.format("%03d", math.floor(time[2] / 1000)))
  redis.call("HINCRBY", KEYS[1], "ver", 1)
end
return { "OK", "1" }
