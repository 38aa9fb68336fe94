-- product_decr_stock_cancel: moves what the try has frozen back to stock (body of a gated script). A
-- removed product gets it back too: removal is a flag.
-- KEYS: 1
--   keys[1] product hash, {prd:<id>}:h
-- ARGV: none
-- Returns ok(""), or ok("absent") when the product's record is gone, which wants an alert.
-- Repeat: the gate answers DUP.

return barrier(function(keys, _, undo)
  if redis.call("EXISTS", keys[1]) == 0 then
    return ok("absent")
  end
  redis.call("HINCRBY", keys[1], "stock", undo)
  redis.call("HINCRBY", keys[1], "frozen", "-" .. undo)
  redis.call("HINCRBY", keys[1], "ver", 1)
  redis.call("HSET", keys[1], "utime", now_ms)
  return ok("")
end)
