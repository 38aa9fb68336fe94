-- Notes that a coordinator could not read the record of a transaction: it needs a person. The record
-- and its due time stay as they are, so that it goes on by itself once it is mended, or once a
-- coordinator of the version that wrote it finds it.
--
-- KEYS: 1
-- KEYS[1]  parked zset
-- ARGV[1]  gid
--
-- Returns now.
-- Repeated: the time of the first one stays.
if #KEYS ~= 1 or #ARGV ~= 1 then
    return redis.error_reply('ERR damage_park: wants 1 KEYS and 1 ARGV, got ' ..
        #KEYS .. ' and ' .. #ARGV)
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], 'NX', string.format('%d', now), ARGV[1])
return now
