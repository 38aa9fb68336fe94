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
-- The body also sees now_ms (time of this Redis, a number), gid and branch_id.
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

local OPS = {action = true, compensate = true, rollback = true, try = true, confirm = true,
    cancel = true}
local ORIGIN = {compensate = 'action', rollback = 'action', cancel = 'try'}
local RIVAL = {confirm = 'cancel', cancel = 'confirm'}
local MAY_FAIL = {action = true, try = true}
local FIXED = 7 -- arguments in front of the body's

local clock = redis.call('TIME')
local now_ms = clock[1] * 1000 + math.floor(clock[2] / 1000)
local gid, branch_id = ARGV[2], ARGV[3]

local function ok(reply, journal)
    return {done = true, reply = reply, journal = journal}
end

local function fail(reason)
    return {done = false, reply = reason}
end

-- Never raises: it runs after the body has written.
local function gate_text(value)
    if value == nil then
        return ''
    elseif type(value) == 'number' then
        return string.format('%.17g', value)
    end
    return tostring(value)
end

local function gate_refuse(...)
    return redis.error_reply('ERR gate: ' .. string.format(...))
end

-- Returns nil, or what is wrong with KEYS and ARGV.
local function gate_check_args()
    if #KEYS < 1 then
        return gate_refuse('KEYS[1], the barrier hash, is missing')
    end
    if #ARGV < FIXED then
        return gate_refuse('ARGV has %d entries, needs %d: trans_type, gid, branch_id, op, ' ..
            'barrier_id, ttl_ms, started_ms', #ARGV, FIXED)
    end
    for i, name in ipairs({'trans_type', 'gid', 'branch_id'}) do
        if ARGV[i] == '' then
            return gate_refuse('ARGV[%d], %s, is empty', i, name)
        end
    end
    if branch_id:find(':', 1, true) then -- the last one ends the gid in KEYS[1]
        return gate_refuse("ARGV[3], branch_id, is '%s', must not have a ':'", branch_id)
    end
    if not OPS[ARGV[4]] then
        return gate_refuse("ARGV[4], op, is '%s', must be action, compensate, rollback, try, " ..
            'confirm or cancel', ARGV[4])
    end
    if not ARGV[5]:match('^%d%d$') then
        return gate_refuse("ARGV[5], barrier_id, is '%s', must be two digits", ARGV[5])
    end
    if not ARGV[6]:match('^[1-9]%d*$') or #ARGV[6] > 15 then
        return gate_refuse("ARGV[6], ttl_ms, is '%s', must be a whole number from 1", ARGV[6])
    end
    if not ARGV[7]:match('^%d+$') or #ARGV[7] > 15 then
        return gate_refuse("ARGV[7], started_ms, is '%s', must be a whole number from 0", ARGV[7])
    end
    return nil
end

-- Returns nil, or what is wrong with the names of the keys.
local function gate_check_keys()
    local tail = ':br:' .. gid .. ':' .. branch_id
    local tag = KEYS[1]:sub(1, -#tail - 1)
    if KEYS[1]:sub(-#tail) ~= tail or not tag:match('^{[^}]+}$') then
        return gate_refuse("KEYS[1] is '%s', must be {tag}%s", KEYS[1], tail)
    end
    for i = 2, #KEYS do
        if KEYS[i]:sub(1, #tag) ~= tag then
            return gate_refuse("KEYS[%d] is '%s', must begin with the tag %s", i, KEYS[i], tag)
        end
    end
    return nil
end

-- The record so far: own field, own reply, field of the origin and its journal, field of the rival.
local function gate_read(op, bid)
    local origin = ORIGIN[op] or (op == 'confirm' and 'try') or op
    local got = redis.call('HMGET', KEYS[1], op .. ':' .. bid, 'r:' .. op .. ':' .. bid,
        origin .. ':' .. bid, 'j:' .. origin .. ':' .. bid, (RIVAL[op] or op) .. ':' .. bid)
    return {own = got[1], reply = got[2] or '', origin = got[3], journal = got[4] or '',
        rival = RIVAL[op] and got[5]}
end

local function gate_writer(field)
    return field:match('^(%a+)|') or '?'
end

local function gate_write(op, bid, done)
    local mark = op .. '|' .. string.format('%.0f', now_ms)
    local row = {op .. ':' .. bid, mark, 'tt', ARGV[1]}
    local reply, journal = gate_text(done.reply), gate_text(done.journal)
    if done.origin then
        row[#row + 1], row[#row + 2] = done.origin .. ':' .. bid, mark
    end
    if journal ~= '' then
        row[#row + 1], row[#row + 2] = 'j:' .. op .. ':' .. bid, journal
    end
    if reply ~= '' then
        row[#row + 1], row[#row + 2] = 'r:' .. op .. ':' .. bid, reply
    end
    redis.call('HSET', KEYS[1], unpack(row))
    redis.call('PEXPIRE', KEYS[1], ARGV[6])
    return {'OK', reply}
end

-- Undo of what is not recorded: it never happened, or its record has expired.
local function gate_undo_nothing(op, bid)
    local ttl, started = tonumber(ARGV[6]), tonumber(ARGV[7])
    if started > 0 and now_ms - started > ttl - math.floor(ttl / 10) then
        return {'LATE', string.format('%s without a record of %s, and the transaction began ' ..
            '%.0f ms ago: records live %.0f ms, so it may have expired', op, ORIGIN[op],
            now_ms - started, ttl)}
    end
    gate_write(op, bid, {origin = ORIGIN[op]})
    return {'NULL', ''}
end

local function gate_run(op, bid, record, business)
    local keys, args = {unpack(KEYS, 2)}, {unpack(ARGV, FIXED + 1)}
    local undo = ORIGIN[op] and record.journal or nil
    local tried = op == 'confirm' and record.origin and record.journal or nil
    local result = business(keys, args, undo, tried)
    if type(result) == 'table' and result.err then
        return result
    end
    if type(result) ~= 'table' or type(result.done) ~= 'boolean' then
        return gate_refuse('the body must return ok(…) or fail(…)')
    end
    if result.done then
        return gate_write(op, bid, result)
    end
    if not MAY_FAIL[op] then
        return gate_refuse('the body answers fail(%s), but %s must not fail',
            gate_text(result.reply), op)
    end
    return {'FAIL', gate_text(result.reply)}
end

local function barrier(business)
    local wrong = gate_check_args() or gate_check_keys()
    if wrong then
        return wrong
    end
    local op, bid = ARGV[4], ARGV[5]
    local record = gate_read(op, bid)
    if record.own then
        local writer = gate_writer(record.own)
        if writer == op then
            return {'DUP', record.reply}
        end
        return {'VOID', writer .. ' came before ' .. op}
    end
    if record.rival then
        return {'CONFLICT', gate_writer(record.rival) .. ' came before ' .. op}
    end
    if ORIGIN[op] and (not record.origin or gate_writer(record.origin) ~= ORIGIN[op]) then
        return gate_undo_nothing(op, bid)
    end
    return gate_run(op, bid, record, business)
end
