-- Forgets those of 64 listed transactions whose record is gone. All keys are declared, so that it runs
-- on a cluster; fewer transactions than 64: repeat the last one.
--
-- KEYS: 65
-- KEYS[1]  recent zset, or the parked one   KEYS[2...65]  tx hashes
-- ARGV[1...64]  the gids of KEYS[2...65]
-- ARGV[65]  "ended": those as well that have ended; "": only what is gone
--
-- Returns how many were forgotten.
-- Repeated: the second run finds nothing to remove.
if #KEYS ~= 65 or #ARGV ~= 65 or (ARGV[65] ~= '' and ARGV[65] ~= 'ended') then
    return redis.error_reply('ERR recent_trim: wants 65 KEYS and 65 ARGV, the last "" or "ended", got ' ..
        #KEYS .. ' and ' .. #ARGV)
end
local function has_ended(tx)
    local status = redis.pcall('HGET', tx, 'status') -- no string when the key is not a hash
    return status == 'succeed' or status == 'failed'
end
local gone = {}
for i = 1, 64 do
    local tx = KEYS[i + 1]
    if redis.call('EXISTS', tx) == 0 or (ARGV[65] == 'ended' and has_ended(tx)) then
        gone[#gone + 1] = ARGV[i]
    end
end
if #gone == 0 then
    return 0
end
return redis.call('ZREM', KEYS[1], unpack(gone))
