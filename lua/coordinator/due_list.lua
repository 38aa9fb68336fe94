-- Lists overdue transactions of one partition, oldest first, and tells when the next one is due.
--
-- KEYS: 1
-- KEYS[1]  due zset
-- ARGV[1]  how many at most, 1 ... 1000
--
-- Returns {now, next, {gid, ...}}; next: due time in ms of the first that is not overdue yet, 0: none.
-- Repeated: it only reads.
if #KEYS ~= 1 or #ARGV ~= 1 then
    return redis.error_reply('ERR due_list: wants 1 KEYS and 1 ARGV, got ' ..
        #KEYS .. ' and ' .. #ARGV)
end
local limit = tonumber(ARGV[1])
if not limit or limit < 1 or limit > 1000 then
    return redis.error_reply('ERR due_list: the limit is a number from 1 to 1000')
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local at = string.format('%d', now)
local gids = redis.call('ZRANGE', KEYS[1], '-inf', at, 'BYSCORE', 'LIMIT', 0, ARGV[1])
local coming = redis.call('ZRANGE', KEYS[1], '(' .. at, '+inf', 'BYSCORE', 'LIMIT', 0, 1,
    'WITHSCORES')
return {now, math.ceil(tonumber(coming[2] or 0)), gids}
