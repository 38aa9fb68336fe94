-- id_block: takes a block of ids off a shard's counter, before the saga begins, so that every key of the
-- saga is known in advance. For orders and users alike.
-- KEYS: 1
--   KEYS[1] counter, {ord:<s>}:seq or {usr:<s>}:seq
-- ARGV[1] how many, 1 … 1000000
-- Returns {"OK", first}: the block is first … first+count-1; the caller turns n into the id n*S+s.
-- Repeat: takes another block; gaps are harmless, an id is never given twice.

if #KEYS ~= 1 or #ARGV ~= 1 then
  return redis.error_reply("id_block: wants 1 key and 1 argument")
end
local count = tonumber(ARGV[1])
if not count or count < 1 or count > 1000000 or count % 1 ~= 0 then
  return redis.error_reply("id_block: ARGV[1] (count) must be a whole number, 1 to 1000000")
end
local last = redis.call("INCRBY", KEYS[1], ARGV[1])
return { "OK", string.format("%.0f", last - count + 1) }
