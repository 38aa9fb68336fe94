-- One page of the transactions of a partition by creation time, or of its parked ones by the time of
-- that, newest first; equal times by gid, greatest bytes first.
--
-- KEYS: 1
-- KEYS[1]  recent zset, or the parked one
-- ARGV[1]  newest time in ms, or "+inf"
-- ARGV[2]  oldest time in ms, or "-inf"
-- ARGV[3]  with a newest time: only gids below this one are listed among those of that very
--          time; "": all of them
-- ARGV[4]  how many at most, 1 ... 1000
--
-- Returns {gid, time, gid, time, ...}.
-- Repeated: it only reads.
if #KEYS ~= 1 or #ARGV ~= 4 then
    return redis.error_reply('ERR recent_list: wants 1 KEYS and 4 ARGV, got ' ..
        #KEYS .. ' and ' .. #ARGV)
end
local limit = tonumber(ARGV[4])
if not limit or limit < 1 or limit > 1000 then
    return redis.error_reply('ERR recent_list: the limit is a number from 1 to 1000')
end
-- Byte order, as the zset has it: `<` would follow the locale of the server.
local function is_below(a, b)
    for i = 1, math.min(#a, #b) do
        local x, y = a:byte(i), b:byte(i)
        if x ~= y then
            return x < y
        end
    end
    return #a < #b
end

local newest, below = tonumber(ARGV[1]), ARGV[3]
local page, offset = {}, 0
-- More than 12 000 created in one millisecond would be needed to run out of rounds.
for _ = 1, 200 do
    local found = redis.call('ZRANGE', KEYS[1], ARGV[1], ARGV[2], 'BYSCORE', 'REV',
        'LIMIT', offset, limit + 64, 'WITHSCORES')
    for i = 1, #found, 2 do
        if below == '' or tonumber(found[i + 1]) ~= newest or is_below(found[i], below) then
            page[#page + 1] = found[i]
            page[#page + 1] = found[i + 1]
            if #page == 2 * limit then
                return page
            end
        end
    end
    if #found == 0 then
        return page
    end
    offset = offset + #found / 2
end
return page
