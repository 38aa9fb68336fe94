-- Takes entries out of an outbox stream whose messages are stored.
--
-- KEYS: 1
-- KEYS[1]  outbox stream
-- ARGV[1]  consumer group
-- ARGV[2..] ids of the entries, at most 1500
--
-- Returns how many of them were still there.
-- Repeated: what is gone is counted no more.
if #KEYS ~= 1 or #ARGV < 2 or #ARGV > 1501 then
    return redis.error_reply('ERR outbox_ack: wants 1 KEYS and 2 to 1501 ARGV, got ' .. #KEYS ..
        ' and ' .. #ARGV)
end
redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, 2))
return redis.call('XDEL', KEYS[1], unpack(ARGV, 2))
