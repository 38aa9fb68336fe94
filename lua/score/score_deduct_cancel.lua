-- score_deduct_cancel: moves what the try has frozen back to the total (body of a gated script).
-- KEYS: 1
--   keys[1] account of the user, {scr:<s>}:a:<uid>
-- ARGV: none
-- Returns ok("").
-- Repeat: the gate answers DUP.

return barrier(function(keys, _, undo)
  redis.call("HINCRBY", keys[1], "total", undo)
  redis.call("HINCRBY", keys[1], "frozen", "-" .. undo)
  return ok("")
end)
