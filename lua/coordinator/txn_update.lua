-- Any transition of a transaction: progress of branches, another status, a renewed lease, release,
-- the end. Fenced: only the owner of the present epoch, building on the present revision and
-- status, changes anything.
--
-- KEYS: 3
-- KEYS[1]  tx hash       KEYS[2]  log stream    KEYS[3]  due zset
-- ARGV[1]  gid
-- ARGV[2]  lease that must be stored now: "EPOCH.REVISION OWNER"
-- ARGV[3]  lease to store: the revision is one more; without " OWNER" it gives up ownership
-- ARGV[4]  status that must be stored now
-- ARGV[5]  status to store
-- ARGV[6]  due time in ms from now (not used when the status is final)
-- ARGV[7]  time to live in ms, used when the status is final
-- ARGV[8]  what happened, for the history: "EVENT | EVENT ..."; "": nothing
-- ARGV[9]  n: number of fields to set
-- ARGV[10...] n times name, value; the rest are names of fields to remove, 400 at most
--
-- The history is the field `history` (an empty stream alone takes 670 bytes), MS being the time since
-- creation:
--   +MS EVENT | EVENT | +MS EVENT ...        EVENT: "OP RESULT DURATIONms: NOTE", "STATUS: NOTE"
-- What makes it longer than 480 bytes goes with all of it into the stream, as one entry in the same
-- form, and the field begins anew: so the stream comes first.
--
-- The field `updated` is the time of the last update before the end; at the end it is `finished`, and
-- a record that was never updated has none.
--
-- Returns {"OK", now}, {"FENCED", now, stored status} or {"NOT_FOUND", now}.
-- Repeated: the stored lease and status are already those that this update leaves behind, so the
-- second run answers OK and writes nothing.
local call, KEYS, ARGV = redis.call, KEYS, ARGV -- globals are looked up at each use
if #KEYS ~= 3 or #ARGV < 9 then
    return redis.error_reply('ERR txn_update: wants 3 KEYS and at least 9 ARGV, got ' ..
        #KEYS .. ' and ' .. #ARGV)
end
local due_in, retention, sets = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[9])
if not (due_in and retention and sets) or retention < 1 or sets < 0 or #ARGV < 9 + 2 * sets then
    return redis.error_reply('ERR txn_update: due, retention and the count of fields are ' ..
        'numbers, retention at least 1, and ARGV holds as much as the count says')
end
if not (ARGV[2]:find('^%d+%.%d+') and ARGV[3]:find('^%d+%.%d+')) then
    return redis.error_reply('ERR txn_update: both leases begin with EPOCH.REVISION')
end

local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local tx, log, due = KEYS[1], KEYS[2], KEYS[3]
local gid, lease, expect, status, events = ARGV[1], ARGV[3], ARGV[4], ARGV[5], ARGV[8]
local final = status == 'succeed' or status == 'failed'

local stored = call('HMGET', tx, 'lease', 'status', 'created', 'history')
-- On a lease without an owner nobody can build.
if stored[1] ~= ARGV[2] or stored[2] ~= expect or not ARGV[2]:find(' ', 1, true) then
    if stored[1] == lease and stored[2] == status then
        return {'OK', now}
    elseif not stored[2] and call('EXISTS', tx) == 0 then
        return {'NOT_FOUND', now}
    end
    return {'FENCED', now, stored[2] or ''}
end

local history = stored[4] or nil
local text
if events ~= '' then
    text = string.format('+%d %s', now - (tonumber(stored[3]) or now), events)
    text = history and history .. ' | ' .. text or text
end
local overflow = text and #text > 480

if final then
    call('ZREM', due, gid)
else
    call('ZADD', due, string.format('%d', now + due_in), gid)
end
local at = string.format('%d', now)
local sets_end = 9 + 2 * sets
local head_end = math.min(409, sets_end)
if text and not overflow then
    call('HSET', tx, 'status', status, 'lease', lease, final and 'finished' or 'updated', at,
        'history', text, unpack(ARGV, 10, head_end))
else
    call('HSET', tx, 'status', status, 'lease', lease, final and 'finished' or 'updated', at,
        unpack(ARGV, 10, head_end))
end
-- The rest in chunks, because unpack has a limit.
for first = head_end + 1, sets_end, 400 do
    call('HSET', tx, unpack(ARGV, first, math.min(first + 399, sets_end)))
end
if sets_end < #ARGV then
    call('HDEL', tx, unpack(ARGV, sets_end + 1, math.min(sets_end + 400, #ARGV)))
end

if overflow then
    call('XADD', log, 'MAXLEN', '~', 1000, '*', 'events', text)
    if history then
        call('HDEL', tx, 'history')
    end
end
if final then
    call('PEXPIRE', tx, ARGV[7])
    -- The first update of the first owner cannot have found a stream.
    if overflow or not (expect == 'submitted' and ARGV[2]:find('^1%.0 ')) then
        call('PEXPIRE', log, ARGV[7])
    end
end
return {'OK', now}
