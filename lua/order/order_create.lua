-- order_create: creates the order whose id was allocated before (body of a gated script).
-- KEYS: 2
--   keys[1] order hash, {ord:<s>}:o:<id>     keys[2] orders of the user, zset {ord:<s>}:u:<uid>
-- ARGV: args[1] id, args[2] uid, args[3] pid, args[4] num, args[5] amount, args[6] status: 0 for an
-- action, 2 (pending, until the branch is confirmed) for a try
-- Returns ok("") with the id as journal; fail when the id is taken or a number is out of range.
-- Repeat: the gate answers DUP.

return barrier(function(keys, args)
  local call, id, num, amount = redis.call, args[1], args[4], args[5]
  -- As text: tonumber costs more, and takes "1e3".
  if not num:find("^[1-9]%d*$") or #num > 6 and num ~= "1000000" then
    return fail("bad_num: num is " .. num .. ", allowed 1 to 1000000")
  end
  if not amount:find("^%d+$") or #amount > 9 and (#amount > 10 or amount + 0 > 4294967295) then
    return fail("bad_amount: amount is " .. amount .. ", allowed 0 to 4294967295")
  end
  if call("EXISTS", keys[1]) == 1 then
    return fail("order_exists: order " .. id .. " exists already")
  end
  call("HSET", keys[1], "id", id, "uid", args[2], "pid", args[3], "num", num, "amount", amount,
    "status", args[6], "gid", gid, "ver", "1", "ctime", now_ms)
  call("ZADD", keys[2], id, id)
  return ok("", id)
end)
