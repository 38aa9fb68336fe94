-- Parks a transaction: nobody calls for it any more until an operator says so. Its owner stores how
-- far it got and gives it up; it moves from the due set to the parked one. Fenced like txn_update.
--
-- KEYS: 4
-- KEYS[1]  tx hash       KEYS[2]  log stream
-- KEYS[3]  due zset      KEYS[4]  parked zset
-- ARGV[1]  gid
-- ARGV[2]  lease that must be stored now: "EPOCH.REVISION OWNER"
-- ARGV[3]  lease to store: the revision is one more, without " OWNER"
-- ARGV[4]  status that must be stored now; it stays
-- ARGV[5]  since when in ms, "0": now
-- ARGV[6]  why, and the ops that wait: "conflict 02.confirm,03.confirm"
-- ARGV[7]  what happened, for the history, as in txn_update; "": nothing
-- ARGV[8]  n: number of fields to set
-- ARGV[9...] n times name, value; the rest are names of fields to remove, 400 at most
--
-- The field `parked` is "SINCE WHY OPS". txn_take moves the transaction back to the due set, whatever
-- it is wanted for; the field goes with the first update that does not park again. So one whose taker
-- died in between is found due, and parked again.
--
-- Returns {"OK", now}, {"FENCED", now, stored status} or {"NOT_FOUND", now}.
-- Repeated: the stored lease and status are already those that this leaves behind, so the second run
-- answers OK and writes nothing.
local call = redis.call
if #KEYS ~= 4 or #ARGV < 8 then
    return redis.error_reply('ERR txn_park: wants 4 KEYS and at least 8 ARGV, got ' ..
        #KEYS .. ' and ' .. #ARGV)
end
local since, sets = tonumber(ARGV[5]), tonumber(ARGV[8])
if not (since and sets) or sets < 0 or #ARGV < 8 + 2 * sets then
    return redis.error_reply('ERR txn_park: since and the count of fields are numbers, and ARGV ' ..
        'holds as much as the count says')
end
if not (ARGV[2]:find('^%d+%.%d+ ') and ARGV[3]:find('^%d+%.%d+$')) then
    return redis.error_reply('ERR txn_park: the leases are EPOCH.REVISION OWNER and EPOCH.REVISION')
end
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local tx, gid = KEYS[1], ARGV[1]

local stored = call('HMGET', tx, 'lease', 'status', 'created', 'history')
if stored[1] ~= ARGV[2] or stored[2] ~= ARGV[4] then
    if stored[1] == ARGV[3] and stored[2] == ARGV[4] then
        return {'OK', now}
    elseif not stored[2] and call('EXISTS', tx) == 0 then
        return {'NOT_FOUND', now}
    end
    return {'FENCED', now, stored[2] or ''}
end

local at = string.format('%d', since > 0 and since or now)
call('ZADD', KEYS[4], at, gid)
call('ZREM', KEYS[3], gid)
call('HSET', tx, 'lease', ARGV[3], 'updated', string.format('%d', now), 'parked', at .. ' ' .. ARGV[6])
local sets_end = 8 + 2 * sets
for first = 9, sets_end, 400 do
    call('HSET', tx, unpack(ARGV, first, math.min(first + 399, sets_end)))
end
if sets_end < #ARGV then
    call('HDEL', tx, unpack(ARGV, sets_end + 1, math.min(sets_end + 400, #ARGV)))
end
-- The history, as in txn_update.
if ARGV[7] ~= '' then
    local text = string.format('+%d %s', now - (tonumber(stored[3]) or now), ARGV[7])
    if stored[4] then
        text = stored[4] .. ' | ' .. text
    end
    if #text <= 480 then
        call('HSET', tx, 'history', text)
    else
        call('XADD', KEYS[2], 'MAXLEN', '~', 1000, '*', 'events', text)
        call('HDEL', tx, 'history')
    end
end
return {'OK', now}
