-- Forgets those of 64 listed transactions whose record has expired. All keys are declared, so that
-- it runs on a cluster; fewer transactions than 64: repeat the last one.
--
-- KEYS: 65
-- KEYS[1]  recent zset   KEYS[2...65]  tx hashes
-- ARGV[1...64]  the gids of KEYS[2...65]
--
-- Returns how many were forgotten.
-- Repeated: the second run finds nothing to remove.
if #KEYS ~= 65 or #ARGV ~= 64 then
    return redis.error_reply('ERR recent_trim: wants 65 KEYS and 64 ARGV, got ' ..
        #KEYS .. ' and ' .. #ARGV)
end
local gone = {}
for i = 1, 64 do
    if redis.call('EXISTS', KEYS[i + 1]) == 0 then
        gone[#gone + 1] = ARGV[i]
    end
end
if #gone == 0 then
    return 0
end
return redis.call('ZREM', KEYS[1], unpack(gone))
