-- Adds a branch to a prepared transaction that nobody owns, or (workflow) a step that the client has
-- done itself.
--
-- KEYS: 1
-- KEYS[1]  tx hash
-- ARGV[1]  type that it must have
-- ARGV[2]  name of the field: "01"; of a workflow "01.action"
-- ARGV[3]  its value; a branch gets "seq N " in front, the order of registration
-- ARGV[4]  how many of them it may have
--
-- The field `branches` counts them.
--
-- Returns {"OK", now}, {"NOT_FOUND", now} or {"CONFLICT", now, why}.
-- Repeated: the branch is there and the same, so the second run answers OK and writes nothing.
if #KEYS ~= 1 or #ARGV ~= 4 then
    return redis.error_reply('ERR txn_register: wants 1 KEYS and 4 ARGV, got ' ..
        #KEYS .. ' and ' .. #ARGV)
end
local most = tonumber(ARGV[4])
if not most or not ARGV[2]:find('^%d') then
    return redis.error_reply('ERR txn_register: the name begins with a digit, and how many there ' ..
        'may be is a number')
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local tx, name = KEYS[1], ARGV[2]

local function conflict(why)
    return {'CONFLICT', now, why}
end

local stored = redis.call('HMGET', tx, 'type', 'status', 'lease', 'declared', 'branches', name)
local kind, status, lease, count = stored[1], stored[2], stored[3], tonumber(stored[5] or '0')
if not status then
    return {'NOT_FOUND', now}
elseif kind ~= ARGV[1] then
    return conflict("trans_type is '" .. (kind or '') .. "'")
elseif status ~= 'prepared' or not lease then
    return conflict("current status '" .. status .. "', branches are registered while it is prepared")
end
local seq, before = '', stored[6]
if kind ~= 'workflow' then
    -- Whoever owns it has read its branches already. A workflow's are only kept.
    if stored[4] or lease:find(' ', 1, true) then
        return conflict(stored[4] and 'its branches were declared' or 'a coordinator drives it now')
    end
    seq = 'seq ' .. count + 1 .. ' '
    before = before and before:gsub('^seq %d+ ', '')
end
if before then
    if before == ARGV[3] then
        return {'OK', now}
    end
    return conflict('branch ' .. name .. ' is registered already, with another content')
elseif count >= most then
    return conflict('it has ' .. count .. ' branches, the most that are possible')
end
redis.call('HSET', tx, name, seq .. ARGV[3], 'branches', string.format('%d', count + 1))
return {'OK', now}
