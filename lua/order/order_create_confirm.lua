-- order_create_confirm: a pending order of this very branch is paid now: its points are spent, its
-- pieces are taken (body of a gated script).
-- KEYS: 1
--   keys[1] order hash, {ord:<s>}:o:<id>
-- ARGV: args[1] id, as in the payload
-- Returns ok("1") paid, ok("9") left alone because somebody made it void, ok("absent") nothing of ours
-- there; the last two want an alert. Without its try, or when the try was of another order than the
-- payload's, it refuses with an error.
-- Repeat: the gate answers DUP.

return barrier(function(keys, args, _, tried)
  if not tried then
    return redis.error_reply("order_create_confirm: there is no try to confirm")
  end
  if tried ~= args[1] then
    return redis.error_reply("order_create_confirm: the journal says order " .. tried
      .. ", the payload " .. (args[1] or "none"))
  end
  local status, owner = unpack(redis.call("HMGET", keys[1], "status", "gid"))
  if not status or owner ~= gid then
    return ok("absent")
  end
  if status == "2" then
    redis.call("HSET", keys[1], "status", "1", "utime", now_ms)
    redis.call("HINCRBY", keys[1], "ver", 1)
    status = "1"
  end
  return ok(status)
end)
