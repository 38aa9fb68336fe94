-- Makes a coordinator the owner of an unfinished transaction and answers with all of it. The new
-- epoch shuts out whoever owned it before. An owner that did not release it may have called actions
-- that the record does not know of, since progress is stored lazily: the field `doubt` says so, for
-- good.
--
-- KEYS: 4
-- KEYS[1]  tx hash       KEYS[2]  log stream
-- KEYS[3]  due zset      KEYS[4]  parked zset
-- ARGV[1]  gid           ARGV[2]  new owner, "": nobody
-- ARGV[3]  "0": only when it is overdue, "1": in any case, "parked": only when it is parked, "tcc" (or
--          another type): only a prepared one of this type, overdue or not
-- ARGV[4]  due time in ms from now: the end of the new owner's lease
--
-- Returns {"OK", now, {name, value, ...}} with the new epoch; {"FINISHED", now, {...}} unchanged;
-- {"NOT_DUE", now}; {"EXISTS", now, status, rollback_reason, type} when it is not prepared any more;
-- {"CONFLICT", now, why} when it is of another type, or not parked; {"NOT_FOUND", now};
-- {"DAMAGED", now, what is wrong}: its due time moves on, so that a record which nobody can read does
-- not stand in the way of the others, and it is noted in the parked set. Whatever else is found, but
-- for NOT_DUE, EXISTS and CONFLICT, is in the parked set no longer.
-- Repeated: without "1" the second run finds it not due any more; with "1" the epoch rises again,
-- and the one taker who uses the last epoch owns it.
if #KEYS ~= 4 or #ARGV ~= 4 then
    return redis.error_reply('ERR txn_take: wants 4 KEYS and 4 ARGV, got ' ..
        #KEYS .. ' and ' .. #ARGV)
end
local due_in = tonumber(ARGV[4])
local which = {['0'] = true, ['1'] = true, parked = true, saga = true, tcc = true, msg = true, xa = true,
    workflow = true}
if not due_in or not which[ARGV[3]] then
    return redis.error_reply('ERR txn_take: which is "0", "1", "parked" or a type and due is a number')
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local tx, due, gid, owner = KEYS[1], KEYS[3], ARGV[1], ARGV[2]
local score = redis.call('ZSCORE', due, gid)
if ARGV[3] == '0' and (score and tonumber(score) > now
    or not score and redis.call('ZSCORE', KEYS[4], gid)) then
    return {'NOT_DUE', now}
end

local due_at = string.format('%d', now + due_in)

local function damaged(what)
    redis.call('ZADD', due, 'XX', due_at, gid)
    redis.call('ZADD', KEYS[4], 'NX', string.format('%d', now), gid)
    return {'DAMAGED', now, what}
end

local stored = redis.pcall('HMGET', tx, 'status', 'lease', 'type', 'rollback_reason', 'declared',
    'created', 'timeout_to_fail_ms', 'history', 'v')
if stored.err then
    return damaged('the key is not a hash')
end
local status = stored[1]
if not status and redis.call('EXISTS', tx) == 0 then
    redis.call('ZREM', due, gid)
    redis.call('ZREM', KEYS[4], gid)
    return {'NOT_FOUND', now}
end
if status == 'succeed' or status == 'failed' then
    redis.call('ZREM', due, gid)
    redis.call('ZREM', KEYS[4], gid)
    return {'FINISHED', now, redis.call('HGETALL', tx)}
end
-- What a later version wrote, and this one would misunderstand: it is for a coordinator of that version.
if stored[9] and stored[9] ~= '1' then
    return damaged('record version ' .. stored[9] .. ', this sagad reads 1')
end
local epoch, revision, holder = (stored[2] or ''):match('^(%d+)%.(%d+) ?(.*)$')
if not epoch then
    return damaged('field lease is not EPOCH.REVISION OWNER')
elseif not (status == 'prepared' or status == 'submitted' or status == 'aborting') then
    return damaged('field status is not a status')
elseif ARGV[3] == '0' and status == 'prepared' then
    -- Nobody is needed while a client calls the tries: whoever owned it would keep the client from
    -- registering a branch. It is overdue because all were asked to be tried now.
    local is_clients = stored[3] == 'xa' or stored[3] == 'tcc' and not stored[5]
    local ends = (tonumber(stored[6]) or 0) + (tonumber(stored[7]) or 0)
    if is_clients and holder == '' and ends > now then
        redis.call('ZADD', due, string.format('%d', ends), gid)
        return {'NOT_DUE', now}
    end
elseif ARGV[3] == 'parked' then
    if not redis.call('ZSCORE', KEYS[4], gid) then
        return {'CONFLICT', now, 'it is not parked'}
    end
elseif ARGV[3] ~= '0' and ARGV[3] ~= '1' then
    if stored[3] ~= ARGV[3] then
        return {'CONFLICT', now, "trans_type is '" .. (stored[3] or '') .. "'"}
    elseif status ~= 'prepared' then
        return {'EXISTS', now, status, stored[4] or '', stored[3]}
    end
end

redis.call('ZREM', KEYS[4], gid)
redis.call('ZADD', due, due_at, gid)
local lease = string.format('%d.%s', epoch + 1, revision)
if owner ~= '' then
    lease = lease .. ' ' .. owner
end
if holder == '' then
    redis.call('HSET', tx, 'lease', lease)
else
    redis.call('HSET', tx, 'lease', lease, 'doubt', '1')
end
-- The history, as in txn_update.
if holder ~= '' and holder ~= owner then
    local text = string.format('+%d takeover: by %s from %s', now - (tonumber(stored[6]) or now), owner,
        holder)
    if stored[8] then
        text = stored[8] .. ' | ' .. text
    end
    if #text <= 480 then
        redis.call('HSET', tx, 'history', text)
    else
        redis.call('XADD', KEYS[2], 'MAXLEN', '~', 1000, '*', 'events', text)
        redis.call('HDEL', tx, 'history')
    end
end
return {'OK', now, redis.call('HGETALL', tx)}
