-- product_decr_stock_try: moves `num` pieces from stock to frozen, where nobody else can take them,
-- until the transaction confirms or cancels (body of a gated script).
-- KEYS: 1
--   keys[1] product hash, {prd:<id>}:h
-- ARGV: args[1] num
-- Returns ok("") with num as journal; fail with bad_num, no_product, not_on_sale, stock_exhausted.
-- Repeat: the gate answers DUP, also when the stock is 0 by now.

return barrier(function(keys, args)
  local num = tonumber(args[1])
  if not num or num < 1 or num > 1000000 or num % 1 ~= 0 then
    return fail("bad_num: num is " .. args[1] .. ", allowed 1 to 1000000")
  end
  local status, stock, frozen, ver = unpack(redis.call("HMGET", keys[1], "status", "stock", "frozen", "ver"))
  if not status or status == "9" then
    return fail("no_product: there is no such product")
  end
  if status ~= "0" then
    return fail("not_on_sale: the product is off the shelf")
  end
  if tonumber(stock) < num then
    return fail("stock_exhausted: " .. stock .. " left, " .. args[1] .. " wanted")
  end
  redis.call("HSET", keys[1], "stock", string.format("%d", stock - num),
    "frozen", string.format("%d", (frozen or 0) + num), "ver", string.format("%d", ver + 1), "utime", now_ms)
  return ok("", string.format("%d", num))
end)
