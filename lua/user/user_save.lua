-- user_save: registers a user under an id that was allocated before (body of a gated script).
-- KEYS: 2
--   keys[1] user hash, {usr:<s>}:u:<id>
--   keys[2] index of the mobile number, {usr:<s>}:m:<mobile>; only when there is one
-- ARGV: args[1] id, args[2] name, args[3] gender, args[4] mobile or "", args[5] salted password hash
-- Returns ok(id) with "id|mobile" as journal; fail with user_exists, mobile_taken.
-- Repeat: the gate answers DUP with the stored id.

return barrier(function(keys, args)
  local id, mobile = args[1], args[4]
  if redis.call("EXISTS", keys[1]) == 1 then
    return fail("user_exists: user " .. id .. " exists already")
  end
  if mobile ~= "" and redis.call("EXISTS", keys[2]) == 1 then
    return fail("mobile_taken: this mobile number is registered already")
  end
  redis.call("HSET", keys[1], "id", id, "name", args[2], "gender", args[3], "mobile", mobile,
    "pass", args[5], "gid", gid, "ctime", now_ms)
  if mobile ~= "" then
    redis.call("SET", keys[2], id)
  end
  return ok(id, id .. "|" .. mobile)
end)
