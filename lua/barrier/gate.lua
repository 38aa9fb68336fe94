-- The barrier gate. libsaga puts this text in front of every gated script; the script's own part
-- (the body) follows on the next line and is one statement:
--
--     return barrier(function(keys, args, undo, tried)
--         … validate everything …
--         if … then return fail('stock is 0') end      -- action and try only
--         … write …
--         return ok(reply, journal)                     -- both texts, both may be left out
--     end)
--
-- KEYS[1]   barrier hash of this branch, <tag>:br:<gid>:<branch>; the tag is "{…}"
-- KEYS[2…]  given to the body as keys[1…]; each begins with the same tag (one slot)
-- ARGV      trans_type, gid, branch_id, op, barrier_id ("01"), ttl_ms, started_ms (0: unknown),
--           then the body's own, given to it as args[1…]
-- The body also sees now_ms (time of this Redis, decimal text), gid and branch_id.
-- It may return redis.error_reply(…) for what a person must look at; then it must not have written.
-- undo      for compensate, rollback (of action) and cancel (of try): the journal of the op that
--           is undone, '' when it kept none; nil for every other op
-- tried     for confirm: the journal of its try, nil without one
--
-- Returns {verdict, text}:
--   OK        done now; text is the body's reply
--   DUP       was done before; text is the reply of that time
--   NULL      undo of what never happened: recorded so that it can never happen later
--   FAIL      the body refused; text is the reason; nothing written
--   VOID      action or try that comes after its undo; nothing written
--   CONFLICT  confirm after cancel or cancel after confirm; nothing written
--   LATE      undo without a record of its origin, so late that it may have expired; nothing written
-- or an error reply when the call or the body is wrong.
--
-- The hash: `tt`; `<op>:<barrier_id>` = `<op that wrote it>|<ms>`, one per row of DTM's barrier
-- table; `j:<op>:<barrier_id>` journal; `r:<op>:<barrier_id>` reply (only when not empty). It lives
-- ttl_ms after its last change.
--
-- A repeat is harmless: the own field is there, so the body does not run again.
--
-- Rules for a body. Redis does not roll back: validate everything first, then write, and let
-- nothing that can fail stand between the first write and `return ok`. The gate writes its record
-- after the body did, in the same script: all of it is kept or none. An undo never fails: what is
-- gone already is fine. Undo by what the journal says, not by the arguments.

-- luacheck: read globals redis KEYS ARGV, ignore 211 (ok, fail and barrier are for the body)

-- This runs for every branch call, inside the one thread of Redis. Hence it is flat, without
-- functions or tables that the common case (an action that was never called) does not need.

local call = redis.call
local gid, branch_id, op = ARGV[2], ARGV[3], ARGV[4]

-- KEYS and ARGV must be right before anything is read.
local tag = KEYS[1] and KEYS[1]:match('^({[^}]+}):')
local wrong
if not KEYS[1] then
    wrong = 'KEYS[1], the barrier hash, is missing'
elseif #ARGV < 7 then
    wrong = 'ARGV has ' .. #ARGV .. ' entries, needs 7: trans_type, gid, branch_id, op, ' ..
        'barrier_id, ttl_ms, started_ms'
elseif ARGV[1] == '' then
    wrong = 'ARGV[1], trans_type, is empty'
elseif gid == '' then
    wrong = 'ARGV[2], gid, is empty'
elseif branch_id == '' then
    wrong = 'ARGV[3], branch_id, is empty'
elseif branch_id:find(':', 1, true) then -- the last one ends the gid in KEYS[1]
    wrong = "ARGV[3], branch_id, is '" .. branch_id .. "', must not have a ':'"
elseif not ARGV[5]:find('^%d%d$') then
    wrong = "ARGV[5], barrier_id, is '" .. ARGV[5] .. "', must be two digits"
elseif not ARGV[6]:find('^[1-9]%d*$') or #ARGV[6] > 15 then
    wrong = "ARGV[6], ttl_ms, is '" .. ARGV[6] .. "', must be a whole number from 1"
elseif not ARGV[7]:find('^%d+$') or #ARGV[7] > 15 then
    wrong = "ARGV[7], started_ms, is '" .. ARGV[7] .. "', must be a whole number from 0"
elseif not tag or KEYS[1] ~= tag .. ':br:' .. gid .. ':' .. branch_id then
    wrong = "KEYS[1] is '" .. KEYS[1] .. "', must be {tag}:br:" .. gid .. ':' .. branch_id
end
for i = 2, wrong and 1 or #KEYS do
    if KEYS[i]:find(tag, 1, true) ~= 1 then
        wrong = 'KEYS[' .. i .. "] is '" .. KEYS[i] .. "', must begin with the tag " .. tag
        break
    end
end
if wrong then
    return redis.error_reply('ERR gate: ' .. wrong)
end

local clock = call('TIME')
-- As text: Redis and Lua turn numbers of this size into text very slowly.
local now_ms = string.format('%d', clock[1] * 1000 + math.floor(clock[2] / 1000))
local own = op .. ':' .. ARGV[5]
local undo, tried -- what an op that looks back finds

if op == 'action' or op == 'try' then
    local mark = call('HGET', KEYS[1], own)
    if mark then
        local writer = mark:match('^(%a+)|')
        if writer == op then
            return {'DUP', call('HGET', KEYS[1], 'r:' .. own) or ''}
        end
        return {'VOID', (writer or '?') .. ' came before ' .. op}
    end
else
    local origin = op == 'compensate' and 'action' or op == 'rollback' and 'action'
        or op == 'cancel' and 'try' or op == 'confirm' and 'try'
    if not origin then
        return redis.error_reply("ERR gate: ARGV[4], op, is '" .. op .. "', must be action, " ..
            'compensate, rollback, try, confirm or cancel')
    end
    local rival = op == 'confirm' and 'cancel' or op == 'cancel' and 'confirm' or nil
    local first = origin .. ':' .. ARGV[5]
    local got = call('HMGET', KEYS[1], own, first, 'j:' .. first, (rival or op) .. ':' .. ARGV[5])
    -- By itself, not as the mark of an undo.
    local happened = got[2] and got[2]:match('^(%a+)|') == origin
    if got[1] then
        return {'DUP', call('HGET', KEYS[1], 'r:' .. own) or ''}
    elseif rival and got[4] then
        return {'CONFLICT', rival .. ' came before ' .. op}
    elseif op == 'confirm' then
        tried = happened and (got[3] or '') or nil
    elseif happened then
        undo = got[3] or ''
    else -- undo of what is not recorded: it never happened, or its record has expired
        local ttl, started = tonumber(ARGV[6]), tonumber(ARGV[7])
        if started > 0 and now_ms - started > ttl - math.floor(ttl / 10) then
            return {'LATE', string.format('%s without a record of %s, and the transaction began ' ..
                '%d ms ago: records live %d ms, so it may have expired', op, origin,
                now_ms - started, ttl)}
        end
        local mark = op .. '|' .. now_ms
        call('HSET', KEYS[1], own, mark, first, mark, 'tt', ARGV[1])
        call('PEXPIRE', KEYS[1], ARGV[6])
        return {'NULL', ''}
    end
end

local function ok(reply, journal)
    return ok, reply, journal
end

local function fail(reason)
    return fail, reason
end

-- Never raises: it runs after the body has written.
local function gate_text(value)
    if type(value) == 'string' then
        return value
    elseif value == nil then
        return ''
    elseif type(value) == 'number' then
        return string.format('%.17g', value)
    end
    return tostring(value)
end

-- Runs the body and records what it did.
local function barrier(business)
    local result, reply, journal = business({unpack(KEYS, 2)}, {unpack(ARGV, 8)}, undo, tried)
    reply, journal = gate_text(reply), gate_text(journal)
    if result == fail and (op == 'action' or op == 'try') then
        return {'FAIL', reply}
    elseif result == fail then
        return redis.error_reply('ERR gate: the body answers fail(' .. reply .. '), but ' .. op ..
            ' must not fail')
    elseif type(result) == 'table' and result.err then
        return result
    elseif result ~= ok then
        return redis.error_reply('ERR gate: the body must return ok(…) or fail(…)')
    end
    local mark = op .. '|' .. now_ms
    if journal == '' and reply == '' then
        call('HSET', KEYS[1], own, mark, 'tt', ARGV[1])
    elseif reply == '' then
        call('HSET', KEYS[1], own, mark, 'tt', ARGV[1], 'j:' .. own, journal)
    elseif journal == '' then
        call('HSET', KEYS[1], own, mark, 'tt', ARGV[1], 'r:' .. own, reply)
    else
        call('HSET', KEYS[1], own, mark, 'tt', ARGV[1], 'j:' .. own, journal, 'r:' .. own, reply)
    end
    call('PEXPIRE', KEYS[1], ARGV[6])
    return {'OK', reply}
end
