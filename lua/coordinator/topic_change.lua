-- Adds a subscriber to a topic (which begins with its first one), takes one away, or forgets a topic.
--
-- KEYS: 1
-- KEYS[1]  topics hash
-- ARGV[1]  subscribe, unsubscribe or delete
-- ARGV[2]  name of the topic   ARGV[3]  url   ARGV[4]  remark (subscribe)
-- ARGV[5]  most topics   ARGV[6]  most subscribers of one   ARGV[7]  most bytes of all topics
--
-- A topic is the field t:NAME = "VERSION CREATED UPDATED", then a line "URL REMARK" for each
-- subscriber. The field `version` ("COUNT-MICROSECONDS") is another one after each change, also when
-- the server went back to an older copy in between; `bytes` is the length of all topics.
--
-- Returns {"OK", now, {all fields of the hash}}, or what stands in the way, and nothing was changed:
-- {"EXISTS", now}: the url is there; {"NO_TOPIC", now}; {"EMPTY", now}: no subscriber to take away;
-- {"NO_URL", now}; {"LIMIT", now, text}.
-- Repeated: the second run finds the change made, answers EXISTS, NO_URL, EMPTY or NO_TOPIC, and
-- writes nothing.
if #KEYS ~= 1 or #ARGV ~= 7 then
    return redis.error_reply('ERR topic_change: wants 1 KEYS and 7 ARGV, got ' ..
        #KEYS .. ' and ' .. #ARGV)
end
local what, field, url, remark = ARGV[1], 't:' .. ARGV[2], ARGV[3], ARGV[4]
local topics_max, urls_max, bytes_max = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
if not topics_max or not urls_max or not bytes_max or
    (what ~= 'subscribe' and what ~= 'unsubscribe' and what ~= 'delete') then
    return redis.error_reply('ERR topic_change: wants subscribe, unsubscribe or delete, and numbers ' ..
        'as limits')
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local stored = redis.call('HMGET', KEYS[1], field, 'version', 'bytes')
local before = stored[1]
local count, created, lines, at = 0, string.format('%d', now), {}, nil
if before then
    count, created = before:match('^(%d+) (%d+) %d+')
    if not count and what ~= 'delete' then
        return redis.error_reply('ERR topic_change: the field ' .. field .. ' is damaged')
    end
    for line in before:gmatch('\n([^\n]*)') do
        lines[#lines + 1] = line
        if line:match('^%S*') == url then
            at = #lines
        end
    end
end

local function limit(text)
    return {'LIMIT', now, text}
end

if what == 'subscribe' then
    if at then
        return {'EXISTS', now}
    elseif #lines >= urls_max then
        return limit('the topic has ' .. #lines .. ' subscribers, the most that are possible')
    elseif not before then
        local topics = redis.call('HLEN', KEYS[1]) - (stored[2] and 2 or 0)
        if topics >= topics_max then
            return limit('there are ' .. topics .. ' topics, the most that are possible')
        end
    end
    lines[#lines + 1] = remark == '' and url or url .. ' ' .. remark
elseif not before then
    return {'NO_TOPIC', now}
elseif what == 'unsubscribe' then
    if #lines == 0 then
        return {'EMPTY', now}
    elseif not at then
        return {'NO_URL', now}
    end
    table.remove(lines, at)
end

local after = ''
if what ~= 'delete' then
    table.insert(lines, 1, string.format('%d %s %d', count + 1, created, now))
    after = table.concat(lines, '\n')
end
local bytes = tonumber(stored[3] or '0') + #after - #(before or '')
if bytes > bytes_max and what == 'subscribe' then
    return limit('all topics together would have ' .. bytes .. ' bytes, at most ' .. bytes_max ..
        ' are possible')
end
if what == 'delete' then
    redis.call('HDEL', KEYS[1], field)
else
    redis.call('HSET', KEYS[1], field, after)
end
local changes = tonumber((stored[2] or '0'):match('^%d+') or '0') + 1
redis.call('HSET', KEYS[1], 'version', string.format('%d-%s%06d', changes, time[1], time[2]),
    'bytes', string.format('%d', bytes))
return {'OK', now, redis.call('HGETALL', KEYS[1])}
