-- Fixes the number of partitions and the layout of the keys at the first start, and tells those in
-- force.
--
-- KEYS: 1
-- KEYS[1]  meta hash
-- ARGV[1]  number of partitions    ARGV[2]  layout version
--
-- Returns {partitions, layout}: what is stored now.
-- Repeated: what is stored is never changed.
if #KEYS ~= 1 or #ARGV ~= 2 then
    return redis.error_reply('ERR meta_init: wants 1 KEYS and 2 ARGV, got ' ..
        #KEYS .. ' and ' .. #ARGV)
end
if not tonumber(ARGV[1]) or not tonumber(ARGV[2]) then
    return redis.error_reply('ERR meta_init: partitions and layout are numbers')
end
redis.call('HSETNX', KEYS[1], 'partitions', ARGV[1])
redis.call('HSETNX', KEYS[1], 'layout', ARGV[2])
return redis.call('HMGET', KEYS[1], 'partitions', 'layout')
