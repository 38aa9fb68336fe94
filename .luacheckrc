-- Scripts run inside Redis (Lua 5.1): they see the server's globals and nothing else.
std = "lua51"
read_globals = { "redis", "KEYS", "ARGV", "cjson", "cmsgpack", "bit", "struct" }
max_line_length = 110

-- Gated scripts stand behind lua/barrier/gate.lua, which gives them these; `outbox` is that of
-- lua/barrier/outbox.lua.
local gate = { "barrier", "ok", "fail", "now_ms", "gid", "branch_id", "outbox" }
for _, folder in ipairs({ "order", "product", "score", "user" }) do
  files["**/lua/" .. folder] = { read_globals = gate }
end
