-- Stores a new global transaction, or one that the store has lost and a coordinator still holds.
--
-- KEYS: 4
-- KEYS[1]  tx hash       KEYS[2]  log stream
-- KEYS[3]  due zset      KEYS[4]  recent zset
-- ARGV[1]  gid
-- ARGV[2]  owner, "" when nobody owns it
-- ARGV[3]  epoch         ARGV[4]  revision
-- ARGV[5]  status        ARGV[6]  type
-- ARGV[7]  creation time in ms, "0": now
-- ARGV[8]  due time in ms from now (not used when the status is final)
-- ARGV[9]  time to live of finished transactions in ms
-- ARGV[10...] further fields of the hash: name, value, name, value ...
--
-- Returns {"OK", now} or {"EXISTS", now, status, rollback_reason}.
-- Repeated: the second run finds the record and writes nothing.
if #KEYS ~= 4 or #ARGV < 9 or #ARGV % 2 ~= 1 then
    return redis.error_reply('ERR txn_create: wants 4 KEYS and 9 ARGV plus pairs, got ' ..
        #KEYS .. ' and ' .. #ARGV)
end
local created, due_in, retention = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
if not (tonumber(ARGV[3]) and tonumber(ARGV[4]) and created and due_in and retention)
    or retention < 1 then
    return redis.error_reply('ERR txn_create: epoch, revision, created, due and retention ' ..
        'are numbers, retention at least 1')
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local tx, gid, status = KEYS[1], ARGV[1], ARGV[5]
if redis.call('HLEN', tx) > 0 then
    local known = redis.call('HMGET', tx, 'status', 'rollback_reason')
    return {'EXISTS', now, known[1] or '', known[2] or ''}
end

if created == 0 then
    created = now
end
local final = status == 'succeed' or status == 'failed'
local at = string.format('%d', created)
-- The due time first: it is what finds the record again, and a key of a wrong type stops us here,
-- before anything of the transaction is written.
if not final then
    redis.call('ZADD', KEYS[3], string.format('%d', now + due_in), gid)
end
redis.call('ZADD', KEYS[4], at, gid)
-- The first 400 in the same call, the rest in chunks, because unpack has a limit.
redis.call('HSET', tx, 'type', ARGV[6], 'status', status, 'epoch', ARGV[3], 'owner', ARGV[2],
    'rev', ARGV[4], 'created', at, unpack(ARGV, 10, math.min(409, #ARGV)))
for first = 410, #ARGV, 400 do
    redis.call('HSET', tx, unpack(ARGV, first, math.min(first + 399, #ARGV)))
end
-- That it was submitted, the field `created` tells: a short saga never needs a stream.
if status ~= 'submitted' or ARGV[4] ~= '0' then
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', 1000, '*', 'op', status, 'result', '', 'ms', 0,
        'note', ARGV[4] == '0' and '' or 'stored again, the store had lost it')
end
if final then
    redis.call('HSET', tx, 'owner', '', 'finished', string.format('%d', now))
    redis.call('PEXPIRE', tx, retention)
    redis.call('PEXPIRE', KEYS[2], retention)
end
return {'OK', now}
