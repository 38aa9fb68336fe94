-- Reads all topics, unless the caller knows them as they are.
--
-- KEYS: 1
-- KEYS[1]  topics hash (see topic_change)
-- ARGV[1]  version that the caller knows, "": none
--
-- Returns {now} when that is the present version, else {now, {all fields of the hash}}.
-- Repeated: it only reads.
if #KEYS ~= 1 or #ARGV ~= 1 then
    return redis.error_reply('ERR topic_read: wants 1 KEYS and 1 ARGV, got ' ..
        #KEYS .. ' and ' .. #ARGV)
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[1] ~= '' and ARGV[1] == redis.call('HGET', KEYS[1], 'version') then
    return {now}
end
return {now, redis.call('HGETALL', KEYS[1])}
