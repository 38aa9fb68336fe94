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

-- This runs for every branch call, inside the one thread of Redis. Hence no tables of constants, few
-- closures, and the common case (an op that was never called) reads one field.

local FIXED = 7 -- arguments in front of the body's

local call = redis.call
local clock = call('TIME')
-- As text: Redis and Lua turn numbers of this size into text very slowly.
local now_ms = string.format('%d', clock[1] * 1000 + math.floor(clock[2] / 1000))
local gid, branch_id = ARGV[2], ARGV[3]
local said, kept -- what the body gave to ok or fail

local function ok(reply, journal)
    said, kept = reply, journal
    return ok
end

local function fail(reason)
    said = reason
    return fail
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

local function gate_refuse(...)
    return redis.error_reply('ERR gate: ' .. string.format(...))
end

-- Returns nil, or what is wrong with KEYS and ARGV; the op is looked at elsewhere.
local function gate_wrong()
    if not KEYS[1] then
        return gate_refuse('KEYS[1], the barrier hash, is missing')
    elseif #ARGV < FIXED then
        return gate_refuse('ARGV has %d entries, needs %d: trans_type, gid, branch_id, op, ' ..
            'barrier_id, ttl_ms, started_ms', #ARGV, FIXED)
    elseif ARGV[1] == '' then
        return gate_refuse('ARGV[1], trans_type, is empty')
    elseif gid == '' then
        return gate_refuse('ARGV[2], gid, is empty')
    elseif branch_id == '' then
        return gate_refuse('ARGV[3], branch_id, is empty')
    elseif branch_id:find(':', 1, true) then -- the last one ends the gid in KEYS[1]
        return gate_refuse("ARGV[3], branch_id, is '%s', must not have a ':'", branch_id)
    elseif not ARGV[5]:find('^%d%d$') then
        return gate_refuse("ARGV[5], barrier_id, is '%s', must be two digits", ARGV[5])
    elseif not ARGV[6]:find('^[1-9]%d*$') or #ARGV[6] > 15 then
        return gate_refuse("ARGV[6], ttl_ms, is '%s', must be a whole number from 1", ARGV[6])
    elseif not ARGV[7]:find('^%d+$') or #ARGV[7] > 15 then
        return gate_refuse("ARGV[7], started_ms, is '%s', must be a whole number from 0", ARGV[7])
    end
    local tag = KEYS[1]:match('^({[^}]+}):')
    if not tag or KEYS[1] ~= tag .. ':br:' .. gid .. ':' .. branch_id then
        return gate_refuse("KEYS[1] is '%s', must be {tag}:br:%s:%s", KEYS[1], gid, branch_id)
    end
    for i = 2, #KEYS do
        if KEYS[i]:find(tag, 1, true) ~= 1 then
            return gate_refuse("KEYS[%d] is '%s', must begin with the tag %s", i, KEYS[i], tag)
        end
    end
    return nil
end

-- Runs the body and records what it did.
local function gate_run(business, own, op, undo, tried)
    local result = business({unpack(KEYS, 2)}, {unpack(ARGV, FIXED + 1)}, undo, tried)
    if result == fail and (op == 'action' or op == 'try') then
        return {'FAIL', gate_text(said)}
    elseif result == fail then
        return gate_refuse('the body answers fail(%s), but %s must not fail', gate_text(said), op)
    elseif type(result) == 'table' and result.err then
        return result
    elseif result ~= ok then
        return gate_refuse('the body must return ok(…) or fail(…)')
    end
    local row, count = {own, op .. '|' .. now_ms, 'tt', ARGV[1], nil, nil, nil, nil}, 4
    local reply, journal = gate_text(said), gate_text(kept)
    if journal ~= '' then
        row[5], row[6], count = 'j:' .. own, journal, 6
    end
    if reply ~= '' then
        row[count + 1], row[count + 2], count = 'r:' .. own, reply, count + 2
    end
    call('HSET', KEYS[1], unpack(row, 1, count))
    call('PEXPIRE', KEYS[1], ARGV[6])
    return {'OK', reply}
end

-- Everything but the first call of an action or try. One closure, made only when it is needed.
local function gate_other(business, own, op, field)
    local function writer_of(mark)
        return mark and mark:match('^(%a+)|')
    end

    -- What the record says about an op that finds its own field set.
    local function repeated(mark)
        local writer = writer_of(mark)
        if writer == op then
            return {'DUP', call('HGET', KEYS[1], 'r:' .. own) or ''}
        end
        return {'VOID', writer .. ' came before ' .. op}
    end

    -- Undo of what is not recorded: it never happened, or its record has expired.
    local function undo_nothing(origin)
        local ttl, started = tonumber(ARGV[6]), tonumber(ARGV[7])
        if started > 0 and now_ms - started > ttl - math.floor(ttl / 10) then
            return {'LATE', string.format('%s without a record of %s, and the transaction began ' ..
                '%d ms ago: records live %d ms, so it may have expired', op, origin,
                now_ms - started, ttl)}
        end
        local mark = op .. '|' .. now_ms
        call('HSET', KEYS[1], own, mark, origin .. ':' .. ARGV[5], mark, 'tt', ARGV[1])
        call('PEXPIRE', KEYS[1], ARGV[6])
        return {'NULL', ''}
    end

    -- An op that looks back: undo `origin`, or (confirm) complete it.
    local function run_later(origin, rival)
        local first = origin .. ':' .. ARGV[5]
        local got = call('HMGET', KEYS[1], own, first, 'j:' .. first,
            (rival or op) .. ':' .. ARGV[5])
        local happened = writer_of(got[2]) == origin -- by itself, not as the mark of an undo
        local journal = happened and (got[3] or '') or nil
        if got[1] then
            return repeated(got[1])
        elseif rival and got[4] then
            return {'CONFLICT', rival .. ' came before ' .. op}
        elseif op == 'confirm' then
            return gate_run(business, own, op, nil, journal)
        elseif not happened then
            return undo_nothing(origin)
        end
        return gate_run(business, own, op, journal)
    end

    if field then
        return repeated(field)
    elseif op == 'compensate' or op == 'rollback' then
        return run_later('action')
    elseif op == 'cancel' then
        return run_later('try', 'confirm')
    elseif op == 'confirm' then
        return run_later('try', 'cancel')
    end
    return gate_refuse("ARGV[4], op, is '%s', must be action, compensate, rollback, try, " ..
        'confirm or cancel', op)
end

local function barrier(business)
    local wrong = gate_wrong()
    if wrong then
        return wrong
    end
    local op = ARGV[4]
    local own = op .. ':' .. ARGV[5]
    local first = op == 'action' or op == 'try'
    local field = first and call('HGET', KEYS[1], own)
    if first and not field then
        return gate_run(business, own, op)
    end
    return gate_other(business, own, op, field)
end
