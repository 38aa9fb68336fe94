-- Registers an instance of a service, or renews its lease.
--
-- KEYS: 1
-- KEYS[1]  saga:services (zset: member -> end of its lease, ms of Redis' clock)
-- ARGV[1]  member: "SERVICE SCHEME://HOST:PORT"
-- ARGV[2]  lease in ms
-- ARGV[3]  how many members there may be
--
-- Members whose lease has ended go.
--
-- Returns {"OK", now}; {"FULL", now} when there are too many members.
-- Repeated: the lease ends later, nothing else changes.
if #KEYS ~= 1 or #ARGV ~= 3 then
    return redis.error_reply('ERR service_register: wants 1 KEYS and 3 ARGV, got ' ..
        #KEYS .. ' and ' .. #ARGV)
end
local lease, most = tonumber(ARGV[2]), tonumber(ARGV[3])
if not lease or lease < 1 or not most or not ARGV[1]:find('^%S+ %l+://%S+$') then
    return redis.error_reply('ERR service_register: the member is "SERVICE SCHEME://HOST:PORT", ' ..
        'lease and number are numbers')
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local key, member = KEYS[1], ARGV[1]
redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%d', now))
if redis.call('ZCARD', key) >= most and not redis.call('ZSCORE', key, member) then
    return {'FULL', now}
end
redis.call('ZADD', key, string.format('%d', now + lease), member)
return {'OK', now}
