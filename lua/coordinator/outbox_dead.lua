-- Moves an entry that can never become a message to the dead-letter stream.
--
-- KEYS: 2
-- KEYS[1]  outbox stream
-- KEYS[2]  dead-letter stream: fields reason, id (of the entry), then those of the entry
-- ARGV[1]  consumer group
-- ARGV[2]  id of the entry
-- ARGV[3]  reason
-- ARGV[4]  about how many dead letters are kept, the newest ones
--
-- Returns 1, or 0 when the entry was gone.
-- Repeated: the entry is gone.
if #KEYS ~= 2 or #ARGV ~= 4 then
    return redis.error_reply('ERR outbox_dead: wants 2 KEYS and 4 ARGV, got ' .. #KEYS .. ' and ' ..
        #ARGV)
end
local most = 1000 -- elements; Lua cannot hand over any number of arguments
local entry = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])[1]
if entry then
    local fields = entry[2]
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], '*', 'reason', ARGV[3], 'id', ARGV[2],
        unpack(fields, 1, math.min(#fields, most)))
end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
return redis.call('XDEL', KEYS[1], ARGV[2])
