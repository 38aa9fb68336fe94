-- The instances of services that have registered themselves and whose lease has not ended.
--
-- KEYS: 1
-- KEYS[1]  saga:services
-- ARGV[1]  how many at most
--
-- Returns {now, how many there are, member, ms until its lease ends, member, ...}, by member.
-- Repeated: reads only.
if #KEYS ~= 1 or #ARGV ~= 1 or not tonumber(ARGV[1]) then
    return redis.error_reply('ERR service_list: wants 1 KEYS and 1 ARGV, a number')
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local flat = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. string.format('%d', now), '+inf',
    'WITHSCORES', 'LIMIT', 0, ARGV[1])
local list = {}
for i = 1, #flat, 2 do
    list[#list + 1] = {flat[i], math.ceil(tonumber(flat[i + 1])) - now}
end
table.sort(list, function(a, b)
    return a[1] < b[1]
end)
local reply = {now, redis.call('ZCOUNT', KEYS[1], '(' .. string.format('%d', now), '+inf')}
for _, entry in ipairs(list) do
    reply[#reply + 1] = entry[1]
    reply[#reply + 1] = entry[2]
end
return reply
