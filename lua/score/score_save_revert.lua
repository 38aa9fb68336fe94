-- score_save_revert: removes exactly the ledger entry that the journal names (body of a gated
-- script). The total may go below zero when the points were spent meanwhile: an undo never fails.
-- KEYS: 3
--   keys[1] ledger of the user, {scr:<s>}:l:<uid>       keys[2] account of the user, {scr:<s>}:a:<uid>
--   keys[3] owner of each entry, {scr:<s>}:i
-- ARGV: none
-- Returns ok("removed"), or ok("absent") when the entry is not there, which wants an alert.
-- Repeat: the gate answers DUP.

return barrier(function(keys, _, undo)
  local entry, score = string.match(undo, "^(%d+)|(%d+)$")
  if redis.call("HDEL", keys[1], entry) == 0 then
    return ok("absent")
  end
  redis.call("HINCRBY", keys[2], "total", "-" .. score)
  redis.call("HINCRBY", keys[2], "count", -1)
  redis.call("HDEL", keys[3], entry)
  return ok("removed")
end)
