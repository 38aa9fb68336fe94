-- score_deduct_try: moves points of a user from total to frozen, where nobody else can spend them,
-- until the transaction confirms or cancels (body of a gated script).
-- KEYS: 1
--   keys[1] account of the user, {scr:<s>}:a:<uid>
-- ARGV: args[1] score
-- Returns ok("") with the score as journal; fail with bad_score, not_enough_score.
-- Repeat: the gate answers DUP, also when the total is 0 by now.

return barrier(function(keys, args)
  local score = args[1]
  if not score:find("^[1-9]%d*$") or #score > 10 or score + 0 > 4294967295 then
    return fail("bad_score: score is " .. score .. ", allowed 1 to 4294967295")
  end
  local total = redis.call("HGET", keys[1], "total") or "0"
  if total - score < 0 then
    return fail("not_enough_score: " .. total .. " points, " .. score .. " wanted")
  end
  redis.call("HINCRBY", keys[1], "total", "-" .. score)
  redis.call("HINCRBY", keys[1], "frozen", score)
  return ok("", score)
end)
