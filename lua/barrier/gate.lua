-- The barrier gate. libsaga puts this text in front of every gated script; the script's own part
-- (the body) follows on the next line and is one statement:
--
--     return barrier(function(keys, args, undo, tried)
--         … validate everything …
--         if … then return fail('stock is 0') end      -- action, try and msg only
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
-- op msg    is the change that a prepared message announces (branch "00"): msg_check.lua asks for it
-- undo      for compensate, rollback (of action) and cancel (of try): the journal of the op that
--           is undone, '' when it kept none; nil for every other op
-- tried     for confirm: the journal of its try, nil without one
--
-- Returns {verdict, text}:
--   OK        done now; text is the body's reply
--   DUP       was done before; text is the reply of that time
--   NULL      undo of what never happened: recorded so that it can never happen later
--   FAIL      the body refused; text is the reason; nothing written
--   VOID      action or try that comes after its undo, for the first time or again; msg after its
--             check-back; nothing written
--   CONFLICT  confirm after cancel or cancel after confirm; nothing written
--   LATE      undo without a record of its origin, so late that it may have expired; nothing written
-- or an error reply when the call or the body is wrong.
--
-- The hash has one field for each row of DTM's barrier table, `<op>:<barrier_id>` =
-- `<op that wrote it>|<ms>|<trans_type>|<journal>`: the journal is all that follows the third '|',
-- any bytes or none. Besides `r:<op>:<barrier_id>`, the reply, only when there is one. The hash
-- lives ttl_ms after its last change.
--
-- A repeat is harmless: the own field is there, so the body does not run again. The repeat of an
-- action or try that was undone since is no success: VOID.
--
-- Rules for a body. Redis does not roll back: validate everything first, then write, and let
-- nothing that can fail stand between the first write and `return ok`. The gate writes its record
-- after the body did, in the same script: all of it is kept or none. An undo never fails: what is
-- gone already is fine. Undo by what the journal says, not by the arguments.

-- luacheck: read globals redis KEYS ARGV, ignore 211 (ok, fail and barrier are for the body)

-- This runs for every branch call, inside the one thread of Redis. Hence no function, table or call
-- that the common case (an action that was never called) does not need, names that are looked up
-- once, and as few of them as possible outside the block: what the functions below it and the body
-- share costs an allocation each.

local gid, branch_id, own, now_ms
local undo, tried -- what an op that looks back finds

do
    local call, KEYS, ARGV = redis.call, KEYS, ARGV
    local trans_type, op, barrier_id = ARGV[1], ARGV[4], ARGV[5]
    gid, branch_id = ARGV[2], ARGV[3]

    local origin -- the op that this one looks back at; false when it is no op at all
    if op ~= 'action' and op ~= 'try' and op ~= 'msg' then
        origin = (op == 'compensate' or op == 'rollback') and 'action'
            or (op == 'confirm' or op == 'cancel') and 'try'
    end

    -- KEYS and ARGV must be right before anything is read. Whether they are is asked first, what is
    -- wrong only when they are not. Patterns are dear, hence the frequent values before them.
    local tag = KEYS[1] and KEYS[1]:match('^{[^}]+}')
    if not tag or #ARGV < 7 or gid == '' or origin == false
        or KEYS[1] ~= tag .. ':br:' .. gid .. ':' .. branch_id
        or branch_id == '' or branch_id:find(':', 1, true)
        or trans_type ~= 'saga' and not trans_type:find('^[^|]+$')
        or barrier_id ~= '01' and not barrier_id:find('^%d%d$')
        or not ARGV[6]:find('^[1-9]%d*$') or #ARGV[6] > 15
        or not ARGV[7]:find('^%d+$') or #ARGV[7] > 15 then
        local wrong
        if not KEYS[1] then
            wrong = 'KEYS[1], the barrier hash, is missing'
        elseif #ARGV < 7 then
            wrong = 'ARGV has ' .. #ARGV .. ' entries, needs 7: trans_type, gid, branch_id, op, ' ..
                'barrier_id, ttl_ms, started_ms'
        elseif trans_type == '' then
            wrong = 'ARGV[1], trans_type, is empty'
        elseif trans_type:find('|', 1, true) then -- the next one ends it in the record
            wrong = "ARGV[1], trans_type, is '" .. trans_type .. "', must not have a '|'"
        elseif gid == '' then
            wrong = 'ARGV[2], gid, is empty'
        elseif branch_id == '' then
            wrong = 'ARGV[3], branch_id, is empty'
        elseif branch_id:find(':', 1, true) then -- the last one ends the gid in KEYS[1]
            wrong = "ARGV[3], branch_id, is '" .. branch_id .. "', must not have a ':'"
        elseif origin == false then
            wrong = "ARGV[4], op, is '" .. op .. "', must be action, compensate, rollback, try, " ..
                'confirm, cancel or msg'
        elseif not barrier_id:find('^%d%d$') then
            wrong = "ARGV[5], barrier_id, is '" .. barrier_id .. "', must be two digits"
        elseif not ARGV[6]:find('^[1-9]%d*$') or #ARGV[6] > 15 then
            wrong = "ARGV[6], ttl_ms, is '" .. ARGV[6] .. "', must be a whole number from 1"
        elseif not ARGV[7]:find('^%d+$') or #ARGV[7] > 15 then
            wrong = "ARGV[7], started_ms, is '" .. ARGV[7] .. "', must be a whole number from 0"
        else
            wrong = "KEYS[1] is '" .. KEYS[1] .. "', must be {tag}:br:" .. gid .. ':' .. branch_id
        end
        return redis.error_reply('ERR gate: ' .. wrong)
    end
    for i = 2, #KEYS do
        if KEYS[i]:find(tag, 1, true) ~= 1 then
            return redis.error_reply('ERR gate: KEYS[' .. i .. "] is '" .. KEYS[i] ..
                "', must begin with the tag " .. tag)
        end
    end

    -- As text: Redis and Lua turn numbers of this size into text very slowly.
    local clock = call('TIME')
    local micros = clock[2]
    if #micros < 6 then
        micros = string.format('%06d', micros)
    end
    now_ms = clock[1] .. micros:sub(1, 3)
    own = op .. ':' .. barrier_id

    if not origin then
        local mark = call('HGET', KEYS[1], own)
        if mark then
            local writer = mark:match('^(%a+)|')
            if writer ~= op then
                return {'VOID', (writer or '?') .. ' came before ' .. op}
            end
            -- What was undone since must not be taken for done by a coordinator whose store forgot
            -- that it is undoing.
            local since = call('HMGET', KEYS[1], 'compensate:' .. barrier_id,
                'rollback:' .. barrier_id, 'cancel:' .. barrier_id)
            local undone = since[1] and 'compensate' or since[2] and 'rollback'
                or since[3] and 'cancel'
            if undone then
                return {'VOID', undone .. ' came after ' .. op}
            end
            return {'DUP', call('HGET', KEYS[1], 'r:' .. own) or ''}
        end
    else
        local rival = op == 'confirm' and 'cancel' or op == 'cancel' and 'confirm' or nil
        local first = origin .. ':' .. barrier_id
        local got = call('HMGET', KEYS[1], own, first, (rival or op) .. ':' .. barrier_id)
        if got[1] then
            return {'DUP', call('HGET', KEYS[1], 'r:' .. own) or ''}
        elseif rival and got[3] then
            return {'CONFLICT', rival .. ' came before ' .. op}
        end
        local writer, journal
        if got[2] then
            writer, journal = got[2]:match('^(%a+)|%d+|[^|]+|(.*)$')
            if not writer then -- taken for nothing it would never be undone
                return redis.error_reply('ERR gate: ' .. first .. " in KEYS[1] is '" ..
                    got[2]:sub(1, 60) .. "', must be op|ms|trans_type|journal")
            end
        end
        local happened = writer == origin -- by itself, not as the mark of an undo
        if op == 'confirm' then
            tried = happened and journal or nil
        elseif happened then
            undo = journal
        else -- undo of what is not recorded: it never happened, or its record has expired
            local ttl, started = tonumber(ARGV[6]), tonumber(ARGV[7])
            if started > 0 and now_ms - started > ttl - math.floor(ttl / 10) then
                return {'LATE', string.format('%s without a record of %s, and the transaction ' ..
                    'began %d ms ago: records live %d ms, so it may have expired', op, origin,
                    now_ms - started, ttl)}
            end
            local mark = op .. '|' .. now_ms .. '|' .. trans_type .. '|'
            call('HSET', KEYS[1], own, mark, first, mark)
            call('PEXPIRE', KEYS[1], ARGV[6])
            return {'NULL', ''}
        end
    end
end

local function ok(reply, journal)
    return ok, reply, journal
end

local function fail(reason)
    return fail, reason
end

-- Runs the body and records what it did.
local function barrier(business)
    local call, KEYS, ARGV = redis.call, KEYS, ARGV
    local result, reply, journal = business({unpack(KEYS, 2)}, {unpack(ARGV, 8)}, undo, tried)
    if reply ~= '' and type(reply) ~= 'string' or type(journal) ~= 'string' then
        -- Never raises: it runs after the body has written.
        local function text(value)
            if type(value) == 'number' then
                return string.format('%.17g', value)
            end
            return value == nil and '' or tostring(value)
        end
        reply, journal = text(reply), text(journal)
    end
    local op = ARGV[4]
    if result ~= ok then
        if result == fail and (op == 'action' or op == 'try' or op == 'msg') then
            return {'FAIL', reply}
        elseif result == fail then
            return redis.error_reply('ERR gate: the body answers fail(' .. reply .. '), but ' ..
                op .. ' must not fail')
        elseif type(result) == 'table' and result.err then
            return result
        end
        return redis.error_reply('ERR gate: the body must return ok(…) or fail(…)')
    end
    local mark = op .. '|' .. now_ms .. '|' .. ARGV[1] .. '|' .. journal
    if reply == '' then
        call('HSET', KEYS[1], own, mark)
    else
        call('HSET', KEYS[1], own, mark, 'r:' .. own, reply)
    end
    call('PEXPIRE', KEYS[1], ARGV[6])
    return {'OK', reply}
end
