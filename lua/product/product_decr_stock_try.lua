-- product_decr_stock_try: moves `num` pieces from stock to frozen, where nobody else can take them,
-- until the transaction confirms or cancels (body of a gated script).
-- KEYS: 1
--   keys[1] product hash, {prd:<id>}:h
-- ARGV: args[1] num
-- Returns ok("") with num as journal; fail with bad_num, no_product, not_on_sale, stock_exhausted.
-- Repeat: the gate answers DUP, also when the stock is 0 by now.

return barrier(function(keys, args)
  local call, num = redis.call, args[1]
  if not num:find("^[1-9]%d*$") or #num > 6 and num ~= "1000000" then
    return fail("bad_num: num is " .. num .. ", allowed 1 to 1000000")
  end
  local status, stock, frozen, ver = unpack(call("HMGET", keys[1], "status", "stock", "frozen", "ver"))
  if not status or status == "9" then
    return fail("no_product: there is no such product")
  end
  if status ~= "0" then
    return fail("not_on_sale: the product is off the shelf")
  end
  local left = stock - num
  if left < 0 then
    return fail("stock_exhausted: " .. stock .. " left, " .. num .. " wanted")
  end
  call("HSET", keys[1], "stock", string.format("%d", left), "ver", string.format("%d", ver + 1),
    "frozen", string.format("%d", (frozen or 0) + num), "utime", now_ms)
  return ok("", num)
end)
