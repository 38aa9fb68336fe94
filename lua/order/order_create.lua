-- order_create: creates the order whose id was allocated before (body of a gated script).
-- KEYS: 2
--   keys[1] order hash, {ord:<s>}:o:<id>     keys[2] orders of the user, zset {ord:<s>}:u:<uid>
-- ARGV: args[1] id, args[2] uid, args[3] pid, args[4] num, args[5] amount
-- Returns ok("") with the id as journal; fail when the id is taken or a number is out of range.
-- Repeat: the gate answers DUP.

return barrier(function(keys, args)
  local id, uid, pid = args[1], args[2], args[3]
  local num, amount = tonumber(args[4]), tonumber(args[5])
  if not num or num < 1 or num > 1000000 or num % 1 ~= 0 then
    return fail("bad_num: num is " .. args[4] .. ", allowed 1 to 1000000")
  end
  if not amount or amount < 0 or amount > 4294967295 or amount % 1 ~= 0 then
    return fail("bad_amount: amount is " .. args[5] .. ", allowed 0 to 4294967295")
  end
  if redis.call("EXISTS", keys[1]) == 1 then
    return fail("order_exists: order " .. id .. " exists already")
  end
  redis.call("HSET", keys[1], "id", id, "uid", uid, "pid", pid, "num", args[4], "amount", args[5],
    "status", "0", "gid", gid, "ver", "1", "ctime", now_ms)
  redis.call("ZADD", keys[2], id, id)
  return ok("", id)
end)
