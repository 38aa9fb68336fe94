-- Adds a branch to a prepared transaction that nobody owns, or (workflow) a step that the client has
-- done itself.
--
-- KEYS: 1
-- KEYS[1]  tx hash
-- ARGV[1]  type that it must have
-- ARGV[2]  name of the field: "01"; of a workflow "01.action"
-- ARGV[3]  its value; a branch gets "seq N " in front, the order of registration
-- ARGV[4]  how many of its kind there may be
-- ARGV[5]  how many bytes of values they may have together; of a workflow only the data counts
-- ARGV[6]  its kind: "branches", or "second_phase": an undo, confirm or commit that a workflow reports.
--          They have room of their own, so that what was begun can be brought to an end
--
-- The field `branches` counts the first kind, and the bytes of both: "COUNT BYTES"; `second_phase`
-- the other. A report without data is never too much in bytes.
--
-- Returns {"OK", now}, {"NOT_FOUND", now} or {"CONFLICT", now, why}.
-- Repeated: the branch is there and the same, so the second run answers OK and writes nothing.
if #KEYS ~= 1 or #ARGV ~= 6 then
    return redis.error_reply('ERR txn_register: wants 1 KEYS and 6 ARGV, got ' ..
        #KEYS .. ' and ' .. #ARGV)
end
local most, bytes_most = tonumber(ARGV[4]), tonumber(ARGV[5])
if not most or not bytes_most or not ARGV[2]:find('^%d') then
    return redis.error_reply('ERR txn_register: the name begins with a digit, and how many there ' ..
        'may be is a number')
elseif ARGV[6] ~= 'branches' and ARGV[6] ~= 'second_phase' then
    return redis.error_reply("ERR txn_register: the kind is branches or second_phase, not '" ..
        ARGV[6] .. "'")
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local tx, name = KEYS[1], ARGV[2]

local function conflict(why)
    return {'CONFLICT', now, why}
end

local stored = redis.call('HMGET', tx, 'type', 'status', 'lease', 'declared', 'branches', name, 'v',
    'second_phase')
local kind, status, lease = stored[1], stored[2], stored[3]
if not status then
    return {'NOT_FOUND', now}
elseif kind ~= ARGV[1] then
    return conflict("trans_type is '" .. (kind or '') .. "'")
elseif stored[7] and stored[7] ~= '1' then
    return conflict('record version ' .. stored[7] .. ', this sagad reads 1')
elseif status ~= 'prepared' or not lease then
    return conflict("current status '" .. status .. "', branches are registered while it is prepared")
end
local count, bytes = (stored[5] or ''):match('^(%d+) ?(%d*)$')
count, bytes = tonumber(count) or 0, tonumber(bytes) or 0
local second, own = tonumber(stored[8]) or 0, #ARGV[3]
local seq, before = '', stored[6]
if kind == 'workflow' then
    own = own - (ARGV[3]:find(' ', 1, true) or own)
else
    -- Whoever owns it has read its branches already. A workflow's are only kept.
    if stored[4] or lease:find(' ', 1, true) then
        return conflict(stored[4] and 'its branches were declared' or 'a coordinator drives it now')
    end
    seq = 'seq ' .. count + 1 .. ' '
    before = before and before:gsub('^seq %d+ ', '')
end
local is_second = ARGV[6] == 'second_phase'
if before then
    if before == ARGV[3] then
        return {'OK', now}
    end
    return conflict('branch ' .. name .. ' is registered already, with another content')
elseif is_second and second >= most then
    return conflict('it has ' .. second .. ' undos, confirms and commits, the most that are possible')
elseif not is_second and count >= most then
    return conflict('it has ' .. count .. ' branches, the most that are possible')
elseif own > 0 and bytes + own > bytes_most then
    return conflict('its branches would have ' .. bytes + own .. ' bytes together; at most ' .. ARGV[5])
end
count, second = count + (is_second and 0 or 1), second + (is_second and 1 or 0)
redis.call('HSET', tx, name, seq .. ARGV[3], 'branches', string.format('%d %d', count, bytes + own))
if is_second then
    redis.call('HSET', tx, 'second_phase', second)
end
return {'OK', now}
