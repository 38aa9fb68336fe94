-- Makes those of 64 transactions due now that are due much later and that nobody owns. All keys are
-- declared, so that it runs on a cluster; fewer transactions than 64: repeat the last one.
--
-- KEYS: 65
-- KEYS[1]  due zset   KEYS[2...65]  tx hashes
-- ARGV[1...64]  the gids of KEYS[2...65]
-- ARGV[65]  only what is due later than so many ms from now
--
-- Returns {now, how many are due now, {gid, ...}}: the gids of those that somebody owns, which are
-- as they were: their due time is the lease of an owner who is at work.
-- Repeated: what is due now is not due later any more, so the second run changes nothing.
if #KEYS ~= 65 or #ARGV ~= 65 then
    return redis.error_reply('ERR due_reset: wants 65 KEYS and 65 ARGV, got ' ..
        #KEYS .. ' and ' .. #ARGV)
end
local later = tonumber(ARGV[65])
if not later then
    return redis.error_reply('ERR due_reset: the time is a number of ms')
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local moved, owned, seen = 0, {}, {}
for i = 1, 64 do
    local gid = ARGV[i]
    local due = tonumber(redis.call('ZSCORE', KEYS[1], gid) or '0')
    if not seen[gid] and due > now + later then
        local lease = redis.call('HGET', KEYS[i + 1], 'lease')
        seen[gid] = true
        if lease and lease:find(' ', 1, true) then
            owned[#owned + 1] = gid
        elseif lease then
            redis.call('ZADD', KEYS[1], 'XX', string.format('%d', now), gid)
            moved = moved + 1
        end
    end
end
return {now, moved, owned}
