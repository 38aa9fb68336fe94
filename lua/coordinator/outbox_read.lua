-- Reads the next entries of one outbox stream. XREADGROUP as a script: the client holds back what a
-- script has read until replicas have it (wait_replicas).
--
-- KEYS: 1
-- KEYS[1]  outbox stream
-- ARGV[1]  consumer group
-- ARGV[2]  consumer, the caller's own name
-- ARGV[3]  most entries to read
--
-- Returns entries as XRANGE gives them.
-- Repeated: it reads others; those of the first run are with their reader until they are
-- acknowledged, or taken over (outbox_sweep).
if #KEYS ~= 1 or #ARGV ~= 3 then
    return redis.error_reply('ERR outbox_read: wants 1 KEYS and 3 ARGV, got ' .. #KEYS .. ' and ' ..
        #ARGV)
end
local read = redis.pcall('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', ARGV[3], 'STREAMS',
    KEYS[1], '>')
if read and read.err then
    return read
end
return read and read[1][2] or {}
