-- Stores a new global transaction, or one that the store has lost and a coordinator still holds.
--
-- KEYS: 4
-- KEYS[1]  tx hash       KEYS[2]  log stream
-- KEYS[3]  due zset      KEYS[4]  recent zset
-- ARGV[1]  gid
-- ARGV[2]  lease: "EPOCH.REVISION OWNER", without " OWNER" when nobody owns it
-- ARGV[3]  status        ARGV[4]  type
-- ARGV[5]  creation time in ms of one that was lost, which is then `updated` now; "0": it is new
-- ARGV[6]  due time in ms from now (not used when the status is final)
-- ARGV[7]  time to live of finished transactions in ms
-- ARGV[8]  first event of the history; "": none
-- ARGV[9...] further fields of the hash: name, value, name, value ...
--
-- That it was submitted, the field `created` tells. For the form of the history see txn_update.
--
-- Returns {"OK", now} or {"EXISTS", now, status, rollback_reason, type}.
-- Repeated: the second run finds the record and writes nothing.
local call, KEYS, ARGV = redis.call, KEYS, ARGV -- globals are looked up at each use
if #KEYS ~= 4 or #ARGV < 8 or #ARGV % 2 ~= 0 then
    return redis.error_reply('ERR txn_create: wants 4 KEYS and 8 ARGV plus pairs, got ' ..
        #KEYS .. ' and ' .. #ARGV)
end
local created, due_in, retention = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
if not (created and due_in and retention and ARGV[2]:find('^%d+%.%d+')) or retention < 1 then
    return redis.error_reply('ERR txn_create: the lease begins with EPOCH.REVISION; created, due ' ..
        'and retention are numbers, retention at least 1')
end

local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local tx, gid, status = KEYS[1], ARGV[1], ARGV[3]
if call('HLEN', tx) > 0 then
    local known = call('HMGET', tx, 'status', 'rollback_reason', 'type')
    return {'EXISTS', now, known[1] or '', known[2] or '', known[3] or ''}
end

local final = status == 'succeed' or status == 'failed'
local at = string.format('%d', created == 0 and now or created)
-- The due time first: it is what finds the record again, and a key of a wrong type stops us here,
-- before anything of the transaction is written.
if not final then
    call('ZADD', KEYS[3], string.format('%d', now + due_in), gid)
end
call('ZADD', KEYS[4], at, gid)
-- The first 400 in the same call, the rest in chunks, because unpack has a limit.
call('HSET', tx, 'type', ARGV[4], 'status', status, 'lease', ARGV[2], 'created', at,
    unpack(ARGV, 9, math.min(408, #ARGV)))
for first = 409, #ARGV, 400 do
    call('HSET', tx, unpack(ARGV, first, math.min(first + 399, #ARGV)))
end
if ARGV[8] ~= '' then
    call('HSET', tx, 'history', string.format('+%d %s', now - at, ARGV[8]))
end
if final then
    call('HSET', tx, 'finished', string.format('%d', now))
    call('PEXPIRE', tx, retention)
    call('PEXPIRE', KEYS[2], retention) -- what was lost may have left its stream
elseif created > 0 then
    call('HSET', tx, 'updated', string.format('%d', now))
end
return {'OK', now}
