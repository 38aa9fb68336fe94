-- The outbox. libsaga puts this text behind the gate and in front of the body of each script that
-- was made with saga_script_new_outbox (or ..._plain_outbox, then without a gate). The body may then
-- say, in the same script as its change:
--
--     outbox(stream, gid, action, payload [, action, payload…])
--
-- A message with these steps is then submitted by a coordinator: it exists if and only if the change
-- does. docs/outbox.md tells the rest.
--
-- KEYS      `stream` must be one of the script's KEYS; so it has the slot of the business keys
-- ARGV      takes none of its own; a body is mostly given the texts below as its arguments
-- gid       of the message, new for each: a gid that the coordinators know already starts nothing
-- action    url that is called: tcp://host/package.Service/Method, http://…
-- payload   its bytes, may be ''
--
-- Returns the id of the entry. What is wrong raises an error that ends the script. So call it when
-- everything was validated, before the first write of the body.
--
-- The entry: gid, trans_type, then 01.action, 01.payload, 02.action… It is never trimmed: whoever has
-- submitted it deletes it.
--
-- Repeat: the gate runs no body twice. A plain script must see by its own record that the change was
-- made; two entries with the same gid are one message.

-- luacheck: read globals redis KEYS, ignore 211 (outbox is for the body)

local function outbox(stream, message_gid, ...)
    local given, declared, size = {...}, false, 0
    local steps = select('#', ...)
    local function refuse(why)
        error({err = 'ERR outbox: ' .. why})
    end

    for i = 1, #KEYS do
        declared = declared or KEYS[i] == stream
    end
    if not declared then
        refuse("stream '" .. tostring(stream) .. "' is none of the KEYS")
    elseif type(message_gid) ~= 'string' or message_gid == '' or message_gid:find('%c') or
        #message_gid > 128 and select(2, message_gid:gsub('[^\128-\191]', '')) > 128 then
        refuse('gid must be a text of 1 to 128 characters, without control characters')
    elseif steps == 0 or steps % 2 == 1 or steps > 200 then
        refuse('wants 1 to 100 pairs of action and payload after the gid')
    end
    local entry = {'gid', message_gid, 'trans_type', 'msg'}
    for i = 1, steps, 2 do
        local number, action, payload = string.format('%02d', (i + 1) / 2), given[i], given[i + 1]
        if type(action) ~= 'string' or not action:find('^%a+://[^/]+/.') or #action > 2048 then
            refuse(number .. '.action must be a url of at most 2048 bytes')
        elseif type(payload) ~= 'string' or #payload > 262144 then
            refuse(number .. '.payload must be a text of at most 256 KB')
        end
        size = size + #payload
        local at = #entry
        entry[at + 1], entry[at + 2] = number .. '.action', action
        entry[at + 3], entry[at + 4] = number .. '.payload', payload
    end
    if size > 1048576 then
        refuse('all payloads together must not exceed 1 MB')
    end
    return redis.call('XADD', stream, '*', unpack(entry))
end
