-- Looks after one outbox stream: makes the consumer group when there is none (from the first entry
-- on), takes over entries whose reader is silent, forgets readers that are gone, and tells how much
-- waits.
--
-- KEYS: 1
-- KEYS[1]  outbox stream
-- ARGV[1]  consumer group
-- ARGV[2]  consumer, the caller's own name
-- ARGV[3]  ms for which an entry must have been with its reader without being acknowledged
-- ARGV[4]  where the last look ended, "0-0" at first
-- ARGV[5]  most entries to take over
-- ARGV[6]  ms after which a silent reader that has no entries is forgotten
--
-- Returns {where this look ended, entries as XRANGE gives them, entries in the stream, of these with
-- a reader, age of the oldest in ms}.
-- Repeated: it takes over others; those of the first run are taken again when they are not
-- acknowledged.
if #KEYS ~= 1 or #ARGV ~= 6 then
    return redis.error_reply('ERR outbox_sweep: wants 1 KEYS and 6 ARGV, got ' .. #KEYS ..
        ' and ' .. #ARGV)
end
local stream, group = KEYS[1], ARGV[1]

local function claim()
    return redis.pcall('XAUTOCLAIM', stream, group, ARGV[2], ARGV[3], ARGV[4], 'COUNT', ARGV[5])
end

local taken = claim()
if taken.err and taken.err:find('^NOGROUP') then
    redis.call('XGROUP', 'CREATE', stream, group, '0', 'MKSTREAM')
    taken = claim()
end
if taken.err then
    return taken
end

-- Only those without entries: to forget a reader is to forget what it has read.
for _, reader in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
    local is = {}
    for i = 1, #reader, 2 do
        is[reader[i]] = reader[i + 1]
    end
    if is.pending == 0 and is.idle > tonumber(ARGV[6]) and is.name ~= ARGV[2] then
        redis.call('XGROUP', 'DELCONSUMER', stream, group, is.name)
    end
end

local age, first = 0, redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
if first then
    local time = redis.call('TIME')
    age = time[1] * 1000 + math.floor(time[2] / 1000) - tonumber(first[1]:match('^%d+'))
end
return {taken[1], taken[2], redis.call('XLEN', stream), redis.call('XPENDING', stream, group)[1],
    age > 0 and age or 0}
