-- Takes an instance of a service off the list, when it stops.
--
-- KEYS: 1
-- KEYS[1]  saga:services
-- ARGV[1]  member, as it was registered
--
-- Returns 1, or 0 when it was not there.
-- Repeated: it is gone already, the second run answers 0.
if #KEYS ~= 1 or #ARGV ~= 1 then
    return redis.error_reply('ERR service_remove: wants 1 KEYS and 1 ARGV, got ' ..
        #KEYS .. ' and ' .. #ARGV)
end
return redis.call('ZREM', KEYS[1], ARGV[1])
