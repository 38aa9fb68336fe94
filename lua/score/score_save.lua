-- score_save: grants points to a user (body of a gated script).
-- KEYS: 4
--   keys[1] counter of ledger entries, {scr:<s>}:seq    keys[2] ledger of the user, {scr:<s>}:l:<uid>
--   keys[3] account of the user, {scr:<s>}:a:<uid>      keys[4] owner of each entry, {scr:<s>}:i
-- ARGV: args[1] user id, args[2] score, args[3] most points of one grant
-- Returns ok(ledger id) with "ledger id|score" as journal; fail with bad_score.
-- Repeat: the gate answers DUP: the points are granted once.

return barrier(function(keys, args)
  local score = tonumber(args[2])
  if not score or score < 1 or score > tonumber(args[3]) or score % 1 ~= 0 then
    return fail("bad_score: score is " .. args[2] .. ", allowed 1 to " .. args[3])
  end
  local entry = tostring(redis.call("INCR", keys[1]))
  redis.call("HSET", keys[2], entry, args[2] .. "|" .. gid .. "|" .. branch_id .. "|" .. now_ms)
  redis.call("HINCRBY", keys[3], "total", args[2])
  redis.call("HINCRBY", keys[3], "count", 1)
  redis.call("HSET", keys[4], entry, args[1])
  return ok(entry, entry .. "|" .. args[2])
end)
