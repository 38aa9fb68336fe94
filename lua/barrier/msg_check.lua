-- Answers the check-back of a prepared message: was the change made that it announces? When it was
-- not, it can never be made any more.
--
-- KEYS: 1
-- KEYS[1]  barrier hash of the change, "{tag}:br:GID:00": see gate.lua, op msg
-- ARGV[1]  ttl_ms of barrier records
-- ARGV[2]  started_ms: when the message was prepared, 0: unknown
--
-- Returns {verdict, text}, in the gate's words:
--   OK    the change was made: the message is to be sent
--   FAIL  it was not; a mark says so, and the change will be VOID
--   LATE  there is no record, so late that it may have expired; nothing written
-- Repeated: finds the record or the mark, and answers the same.
local call = redis.call
if #KEYS ~= 1 or #ARGV ~= 2 then
    return redis.error_reply('ERR msg_check: wants 1 KEYS and 2 ARGV, got ' .. #KEYS .. ' and ' ..
        #ARGV)
end
local ttl, started = tonumber(ARGV[1]), tonumber(ARGV[2])
if not ttl or ttl < 1 or not started or started < 0 then
    return redis.error_reply('ERR msg_check: ttl_ms is a number from 1, started_ms one from 0')
end
local mark = call('HGET', KEYS[1], 'msg:01')
if mark and mark:find('msg|', 1, true) == 1 then
    return {'OK', ''}
elseif not mark then
    local time = call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    if started > 0 and now - started > ttl - math.floor(ttl / 10) then
        return {'LATE', string.format('no record of the change, and the message was prepared %d ' ..
            'ms ago: records live %d ms, so it may have expired', now - started, ttl)}
    end
    call('HSET', KEYS[1], 'msg:01', string.format('rollback|%d|msg|', now))
    call('PEXPIRE', KEYS[1], ARGV[1])
end
return {'FAIL', 'the change was not made, and will not be'}
