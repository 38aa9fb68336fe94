-- order_create_revert: makes the order of this very branch invalid: the undo of an action and of a try
-- (body of a gated script).
-- KEYS: 1
--   keys[1] order hash, {ord:<s>}:o:<id>
-- ARGV: args[1] id, as in the payload
-- Returns ok("9") undone, ok("paid") left alone because it was paid, ok("absent") nothing of ours
-- there; the last two want an alert. The journal, not the payload, says which order it was: when
-- the two differ the script refuses with an error (never a wrong order).
-- Repeat: the gate answers DUP; a second undo of a 9 changes nothing.

return barrier(function(keys, args, undo)
  if undo ~= args[1] then
    return redis.error_reply("order_create_revert: the journal says order " .. undo
      .. ", the payload " .. args[1])
  end
  local status, owner = unpack(redis.call("HMGET", keys[1], "status", "gid"))
  if not status or owner ~= gid then
    return ok("absent")
  end
  if status == "1" then
    return ok("paid")
  end
  if status ~= "9" then
    redis.call("HSET", keys[1], "status", "9", "utime", now_ms)
    redis.call("HINCRBY", keys[1], "ver", 1)
  end
  return ok("9")
end)
