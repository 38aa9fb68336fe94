-- Scripts run inside Redis (Lua 5.1): they see the server's globals and nothing else.
std = "lua51"
read_globals = { "redis", "KEYS", "ARGV", "cjson", "cmsgpack", "bit", "struct" }
max_line_length = 110
