-- Reads a transaction together with the time of the store.
--
-- KEYS: 1
-- KEYS[1]  tx hash
-- ARGV     none
--
-- Returns {"OK", now, {name, value, ...}} or {"NOT_FOUND", now}.
-- Repeated: it only reads.
if #KEYS ~= 1 or #ARGV ~= 0 then
    return redis.error_reply('ERR txn_read: wants 1 KEYS and 0 ARGV, got ' ..
        #KEYS .. ' and ' .. #ARGV)
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local fields = redis.call('HGETALL', KEYS[1])
if #fields == 0 then
    return {'NOT_FOUND', now}
end
return {'OK', now, fields}
