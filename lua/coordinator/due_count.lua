-- Counts the unfinished and the parked transactions of one partition, for the gauges.
--
-- KEYS: 2
-- KEYS[1]  due zset      KEYS[2]  parked zset
-- ARGV     none
--
-- Returns {now, unfinished, overdue ones among them, parked}.
-- Repeated: it only reads.
if #KEYS ~= 2 or #ARGV ~= 0 then
    return redis.error_reply('ERR due_count: wants 2 KEYS and 0 ARGV, got ' ..
        #KEYS .. ' and ' .. #ARGV)
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return {now, redis.call('ZCARD', KEYS[1]),
    redis.call('ZCOUNT', KEYS[1], '-inf', string.format('%d', now)), redis.call('ZCARD', KEYS[2])}
