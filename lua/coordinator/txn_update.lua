-- Any transition of a transaction: progress of branches, another status, a renewed lease, release,
-- the end. Fenced: only the owner of the present epoch, building on the present revision and
-- status, changes anything.
--
-- KEYS: 3
-- KEYS[1]  tx hash       KEYS[2]  log stream    KEYS[3]  due zset
-- ARGV[1]  gid           ARGV[2]  owner
-- ARGV[3]  epoch         ARGV[4]  revision that this update writes: the stored one + 1
-- ARGV[5]  status that must be stored now
-- ARGV[6]  status to store
-- ARGV[7]  due time in ms from now (not used when the status is final)
-- ARGV[8]  "1": give up ownership, "0": keep it
-- ARGV[9]  time to live in ms, used when the status is final
-- ARGV[10] n: number of history lines
-- ARGV[11] s: number of fields to set
-- ARGV[12...] n times op, result, duration in ms, note; then s times name, value; the rest are
--          names of fields to remove, 400 at most
--
-- History goes into the stream. When the transaction ends and its history is short, it becomes the
-- field `history` and there is no stream: an empty one alone takes 670 bytes. Its form:
--   +MS OP RESULT DURATIONms: NOTE | +MS STATUS: NOTE | ...     (MS since creation; note optional)
--
-- The field `updated` is the time of the last update before the end; at the end it is `finished`, and
-- a record that was never updated has none.
--
-- Returns {"OK", now}, {"FENCED", now, stored status} or {"NOT_FOUND", now}.
-- Repeated: the stored revision, epoch, status and owner are already those that this update leaves
-- behind, so the second run answers OK and writes nothing.
if #KEYS ~= 3 or #ARGV < 11 then
    return redis.error_reply('ERR txn_update: wants 3 KEYS and at least 11 ARGV, got ' ..
        #KEYS .. ' and ' .. #ARGV)
end
local rev, due_in, retention = tonumber(ARGV[4]), tonumber(ARGV[7]), tonumber(ARGV[9])
local notes, sets = tonumber(ARGV[10]), tonumber(ARGV[11])
if not (rev and due_in and retention and notes and sets) or retention < 1 or notes < 0 or sets < 0
    or #ARGV < 11 + 4 * notes + 2 * sets then
    return redis.error_reply('ERR txn_update: revision, due, retention and both counts are ' ..
        'numbers, retention at least 1, and ARGV holds as much as the counts say')
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local tx, log, due = KEYS[1], KEYS[2], KEYS[3]
local gid, owner, epoch, expect, status = ARGV[1], ARGV[2], ARGV[3], ARGV[5], ARGV[6]
local final, release = status == 'succeed' or status == 'failed', ARGV[8] == '1'

local stored = redis.call('HMGET', tx, 'epoch', 'rev', 'status', 'owner', 'created')
if not stored[3] and redis.call('EXISTS', tx) == 0 then
    return {'NOT_FOUND', now}
end
local stored_rev = tonumber(stored[2])
if stored[1] ~= epoch or stored_rev ~= rev - 1 or stored[3] ~= expect or stored[4] ~= owner
    or owner == '' then
    -- What a finished or released transaction keeps of its owner: nothing.
    local owner_after = (final or release) and '' or owner
    if stored[1] == epoch and stored_rev == rev and stored[3] == status
        and stored[4] == owner_after then
        return {'OK', now}
    end
    return {'FENCED', now, stored[3] or ''}
end

-- The first update of the first owner finds no stream: txn_create writes one only above revision 0
-- or for another status, txn_take raises the epoch.
local streamed = final and (rev > 1 or epoch ~= '1' or expect ~= 'submitted')
    and redis.call('XLEN', log) > 0

-- One line of the field `history`.
local function line(since, op, result, ms, note)
    if result ~= '' then
        op = op .. ' ' .. result .. ' ' .. ms .. 'ms'
    end
    return note == '' and since .. op or since .. op .. ': ' .. note
end

-- The whole history as one text, or nil when it is too long for a field or has a '|' in a note.
local function history_text()
    local created = tonumber(stored[5]) or now
    local lines = {}
    if streamed then
        local old = redis.call('XRANGE', log, '-', '+', 'COUNT', 16)
        for i = 1, #old do
            local since = string.format('+%d ', old[i][1]:match('^%d+') - created)
            local f = old[i][2]
            if f[8]:find('|', 1, true) then
                return nil
            end
            lines[i] = line(since, f[2], f[4], f[6], f[8])
        end
    end
    if #lines + notes > 15 then
        return nil
    end
    local since = string.format('+%d ', now - created)
    for i = 12, 8 + 4 * notes, 4 do
        if ARGV[i + 3] ~= '' and ARGV[i + 3]:find('|', 1, true) then
            return nil
        end
        lines[#lines + 1] = line(since, ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
    end
    local text = table.concat(lines, ' | ')
    return #text <= 480 and text or nil
end

local short = final and history_text()
if final then
    redis.call('ZREM', due, gid)
else
    redis.call('ZADD', due, string.format('%d', now + due_in), gid)
end
local at = string.format('%d', now)
local sets_begin = 12 + 4 * notes
local sets_end = sets_begin + 2 * sets - 1
local head_end = math.min(sets_begin + 399, sets_end)
if short then
    redis.call('HSET', tx, 'status', status, 'rev', ARGV[4], 'owner', '', 'finished', at,
        'history', short, unpack(ARGV, sets_begin, head_end))
elseif final then
    redis.call('HSET', tx, 'status', status, 'rev', ARGV[4], 'owner', '', 'finished', at,
        unpack(ARGV, sets_begin, head_end))
elseif release then
    redis.call('HSET', tx, 'status', status, 'rev', ARGV[4], 'updated', at, 'owner', '',
        unpack(ARGV, sets_begin, head_end))
else
    redis.call('HSET', tx, 'status', status, 'rev', ARGV[4], 'updated', at,
        unpack(ARGV, sets_begin, head_end))
end
-- The rest in chunks, because unpack has a limit.
for first = head_end + 1, sets_end, 400 do
    redis.call('HSET', tx, unpack(ARGV, first, math.min(first + 399, sets_end)))
end
if sets_end < #ARGV then
    redis.call('HDEL', tx, unpack(ARGV, sets_end + 1, math.min(sets_end + 400, #ARGV)))
end

if not short then
    for i = 12, 8 + 4 * notes, 4 do
        redis.call('XADD', log, 'MAXLEN', '~', 1000, '*', 'op', ARGV[i], 'result', ARGV[i + 1],
            'ms', ARGV[i + 2], 'note', ARGV[i + 3])
    end
end
if final then
    redis.call('PEXPIRE', tx, retention)
    if not short then
        redis.call('PEXPIRE', log, retention)
    elseif streamed then
        redis.call('DEL', log)
    end
end
return {'OK', now}
