-- Notes that a coordinator could not read the record of a transaction: it needs a person. The record
-- and its due time stay as they are, so that it goes on by itself once it is mended, or once a
-- coordinator of the version that wrote it finds it. What has ended by now needs nobody, nor what is
-- gone.
--
-- KEYS: 2
-- KEYS[1]  parked zset   KEYS[2]  tx hash
-- ARGV[1]  gid
--
-- Returns now; 0 when it was not noted.
-- Repeated: the time of the first one stays.
if #KEYS ~= 2 or #ARGV ~= 1 then
    return redis.error_reply('ERR damage_park: wants 2 KEYS and 1 ARGV, got ' ..
        #KEYS .. ' and ' .. #ARGV)
end
local status = redis.pcall('HGET', KEYS[2], 'status') -- no string when the key is not a hash
if status == 'succeed' or status == 'failed' or redis.call('EXISTS', KEYS[2]) == 0 then
    return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], 'NX', string.format('%d', now), ARGV[1])
return now
