-- score_deduct_confirm: spends what the try has frozen: a ledger entry with a negative score (body of a
-- gated script).
-- KEYS: 4
--   keys[1] counter of ledger entries, {scr:<s>}:seq    keys[2] ledger of the user, {scr:<s>}:l:<uid>
--   keys[3] account of the user, {scr:<s>}:a:<uid>      keys[4] owner of each entry, {scr:<s>}:i
-- ARGV: args[1] user id
-- Returns ok(ledger id). Without its try it refuses with an error: nobody knows what it would confirm.
-- Repeat: the gate answers DUP: the points are spent once.

return barrier(function(keys, args, _, tried)
  if not tried then
    return redis.error_reply("score_deduct_confirm: there is no try to confirm")
  end
  local uid = args[1]
  if not uid then
    return redis.error_reply("score_deduct_confirm: wants 1 argument, the user id")
  end
  local entry = tostring(redis.call("INCR", keys[1]))
  redis.call("HSET", keys[2], entry, "-" .. tried .. "|" .. gid .. "|" .. branch_id .. "|" .. now_ms)
  redis.call("HINCRBY", keys[3], "frozen", "-" .. tried)
  redis.call("HINCRBY", keys[3], "count", 1)
  redis.call("HSET", keys[4], entry, uid)
  return ok(entry)
end)
