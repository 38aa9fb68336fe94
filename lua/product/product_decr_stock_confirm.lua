-- product_decr_stock_confirm: takes for good what the try has frozen (body of a gated script). A
-- product that was removed meanwhile has sold these pieces all the same.
-- KEYS: 1
--   keys[1] product hash, {prd:<id>}:h
-- ARGV: none
-- Returns ok(""), or ok("absent") when the product's record is gone, which wants an alert. Without its
-- try it refuses with an error: nobody knows what it would confirm.
-- Repeat: the gate answers DUP.

return barrier(function(keys, _, _, tried)
  if not tried then
    return redis.error_reply("product_decr_stock_confirm: there is no try to confirm")
  end
  if redis.call("EXISTS", keys[1]) == 0 then
    return ok("absent")
  end
  redis.call("HINCRBY", keys[1], "frozen", "-" .. tried)
  redis.call("HINCRBY", keys[1], "ver", 1)
  redis.call("HSET", keys[1], "utime", now_ms)
  return ok("")
end)
