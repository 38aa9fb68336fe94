-- user_save_revert: undoes exactly the registration of this saga (body of a gated script): never a
-- user that somebody else made, never by the id in the payload alone.
-- KEYS: 2
--   keys[1] user hash, {usr:<s>}:u:<id>
--   keys[2] index of the mobile number, {usr:<s>}:m:<mobile>; only when there is one
-- ARGV: args[1] id, args[2] mobile or "", as in the payload
-- Returns ok("deleted"), or ok("absent") when the user is not (any more) the one of this saga,
-- which wants an alert. The journal must name the same user as the payload, else it is an error.
-- Repeat: the gate answers DUP.

return barrier(function(keys, args, undo)
  if undo ~= args[1] .. "|" .. args[2] then
    return redis.error_reply("user_save_revert: the journal says " .. undo .. ", the payload "
      .. args[1] .. "|" .. args[2])
  end
  if redis.call("HGET", keys[1], "gid") ~= gid then
    return ok("absent")
  end
  redis.call("DEL", keys[1])
  if args[2] ~= "" and redis.call("GET", keys[2]) == args[1] then
    redis.call("DEL", keys[2])
  end
  return ok("deleted")
end)
