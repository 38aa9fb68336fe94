-- product_new_id: the next product id.
-- KEYS: 1
--   KEYS[1] counter, {prd:seq}:n
-- ARGV: none
-- Returns {"OK", id}.
-- Repeat: takes another id; gaps are harmless.

if #KEYS ~= 1 or #ARGV ~= 0 then
  return redis.error_reply("product_new_id: wants 1 key and no argument")
end
return { "OK", tostring(redis.call("INCR", KEYS[1])) }
