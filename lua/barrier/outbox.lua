-- The outbox. libsaga puts this text behind the gate and in front of the body of each script that
-- was made with saga_script_new_outbox (or ..._plain_outbox, then without a gate). The body may then
-- say, in the same script as its change:
--
--     outbox(stream, gid, [options,] action, payload [, action, payload…])
--
-- A message with these steps is then submitted by a coordinator: it exists if and only if the change
-- does. docs/outbox.md tells the rest.
--
-- KEYS      `stream` must be one of the script's KEYS; so it has the slot of the business keys
-- ARGV      takes none of its own; a body is mostly given the texts below as its arguments
-- gid       of the message, new for each: a gid that the coordinators know already starts nothing
-- options   a table, all of it optional: delay_ms, request_timeout_ms, retry_interval_ms = whole
--           numbers; concurrent = true; branch_headers = {NAME = value}
-- action    url that is called: tcp://host/package.Service/Method, http://…, or topic://NAME
-- payload   its bytes, may be ''
--
-- Returns the id of the entry. What is wrong raises an error that ends the script. So call it when
-- everything was validated, before the first write of the body.
--
-- The entry: gid, trans_type, those options that were given, then 01.action, 01.payload, 02.action…
-- It is never trimmed: whoever has submitted it deletes it.
--
-- Repeat: the gate runs no body twice. A plain script must see by its own record that the change was
-- made; two entries with the same gid are one message.

-- luacheck: read globals redis KEYS, ignore 211 (outbox is for the body)

local outbox
do
    local time_max_ms = 31622400000 -- 366 days

    local function refuse(why)
        error({err = 'ERR outbox: ' .. why})
    end

    local function add(entry, name, value)
        local at = #entry
        entry[at + 1], entry[at + 2] = name, value
    end

    local function headers_add(entry, headers)
        local names = {}
        if type(headers) ~= 'table' then
            refuse('option branch_headers must be a table of texts')
        end
        for name, value in pairs(headers) do
            if type(name) ~= 'string' or #name > 256 or not name:find("^[%w!#$%%&'*+.^_`|~-]+$") then
                refuse("option branch_headers: name '" .. tostring(name) ..
                    "' must be 1 to 256 letters, digits or !#$%&'*+-.^_`|~")
            elseif type(value) ~= 'string' or #value > 4096 or value:find('%c') then
                refuse("option branch_headers: value of '" .. name ..
                    "' must be a text of at most 4096 bytes without control characters")
            end
            names[#names + 1] = name
        end
        if #names > 32 then
            refuse('option branch_headers has more than 32 entries')
        end
        table.sort(names)
        for _, name in ipairs(names) do
            add(entry, 'header:' .. name, headers[name])
        end
    end

    local function options_add(entry, options)
        local allowed = {delay_ms = true, request_timeout_ms = true, retry_interval_ms = true,
            concurrent = true, branch_headers = true}
        for name in pairs(options) do
            if not allowed[name] then
                refuse("option '" .. tostring(name) .. "' is unknown; allowed: delay_ms, " ..
                    'request_timeout_ms, retry_interval_ms, concurrent, branch_headers')
            end
        end
        for _, name in ipairs({'delay_ms', 'request_timeout_ms', 'retry_interval_ms'}) do
            local ms = options[name]
            if ms ~= nil and (type(ms) ~= 'number' or ms % 1 ~= 0 or ms < 0 or ms > time_max_ms) then
                refuse('option ' .. name .. ' must be a whole number from 0 to 31622400000')
            elseif ms ~= nil then
                add(entry, name, string.format('%.0f', ms))
            end
        end
        if options.concurrent ~= nil and type(options.concurrent) ~= 'boolean' then
            refuse('option concurrent must be true or false')
        elseif options.concurrent then
            add(entry, 'concurrent', '1')
        end
        if options.branch_headers ~= nil then
            headers_add(entry, options.branch_headers)
        end
    end

    local function is_action(action)
        if type(action) ~= 'string' or #action > 2048 then
            return false
        elseif action:find('^topic://') then
            return action:find('^topic://[^/%s%c]+$')
        end
        return action:find('^%a+://[^/]+/.')
    end

    local function steps_add(entry, given, first, last)
        local size = 0
        for i = first, last, 2 do
            local number = string.format('%02d', (i - first) / 2 + 1)
            local action, payload = given[i], given[i + 1]
            if not is_action(action) then
                refuse(number .. '.action must be a url of at most 2048 bytes')
            elseif type(payload) ~= 'string' or #payload > 262144 then
                refuse(number .. '.payload must be a text of at most 256 KB')
            end
            size = size + #payload
            add(entry, number .. '.action', action)
            add(entry, number .. '.payload', payload)
        end
        if size > 1048576 then
            refuse('all payloads together must not exceed 1 MB')
        end
    end

    function outbox(stream, message_gid, ...)
        local given, last, declared = {...}, select('#', ...), false
        local first = type(given[1]) == 'table' and 2 or 1
        local steps = last - first + 1
        for i = 1, #KEYS do
            declared = declared or KEYS[i] == stream
        end
        if not declared then
            refuse("stream '" .. tostring(stream) .. "' is none of the KEYS")
        elseif type(message_gid) ~= 'string' or message_gid == '' or message_gid:find('%c') or
            #message_gid > 128 and select(2, message_gid:gsub('[^\128-\191]', '')) > 128 then
            refuse('gid must be a text of 1 to 128 characters, without control characters')
        elseif steps == 0 or steps % 2 == 1 or steps > 200 then
            refuse('wants 1 to 100 pairs of action and payload after the gid and its options')
        end
        local entry = {'gid', message_gid, 'trans_type', 'msg'}
        if first == 2 then
            options_add(entry, given[1])
        end
        steps_add(entry, given, first, last)
        return redis.call('XADD', stream, '*', unpack(entry))
    end
end
