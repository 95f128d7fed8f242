-- Carts, limits and stock. Slots count from 0, as in the core; Lua's lists from 1.

local UNLIMITED = 4294967295

local function window(opens, closes, c, line)
  if opens and c.now < opens then
    return refused(c, R.SaleNotBegun, line, opens)
  end
  if closes and c.now >= closes then
    return refused(c, R.SaleOver, line, closes)
  end
end

-- Reads items from the arguments: `from` is their number, then type, quantity and price ('': its own) of each.
-- Gives what is wanted as {slot, tickets, price, version, …}, and the sum.
local function read_cart(c, def, a, from)
  local n, e = tonumber(a[from]), c.e
  if n < 1 or n > L.LINES_MAX then
    return nil, refused(c, R.LineCount)
  end
  local lines, total, tickets, at = {}, 0, 0, from
  for line = 0, n - 1 do
    local slot = def.slots[a[at + 1]]
    local kind = slot and def.types[slot + 1]
    if not kind or not kind[2] then
      return nil, refused(c, R.UnknownTicketType, line)
    end
    local quantity = tonumber(a[at + 2])
    if quantity < 1 or quantity > L.QUANTITY_MAX then
      return nil, refused(c, R.Quantity, line, L.QUANTITY_MAX)
    end
    local own, price = kind[3], kind[3]
    if a[at + 3] ~= '' then
      price = tonumber(a[at + 3])
      if price ~= own then
        if not kind[4] then
          return nil, refused(c, R.PriceFixed, line, own)
        elseif price < own then
          return nil, refused(c, R.PriceBelowMinimum, line, own)
        elseif price > L.PRICE_MAX then
          return nil, refused(c, R.PriceTooHigh, line)
        end
      end
    end
    local bad = window(kind[5], kind[6], c, line)
    if bad then
      return nil, bad
    end
    local i = line * 4
    lines[i + 1], lines[i + 2], lines[i + 3], lines[i + 4] = slot, quantity, price, e[2]
    total, tickets, at = total + price * quantity, tickets + quantity, at + 3
  end
  if tickets > L.TICKETS_PER_ORDER_MAX then
    return nil, refused(c, R.TooManyTickets, L.TICKETS_PER_ORDER_MAX)
  end
  return lines, total
end

local function covered(limit, lines)
  local sum = 0
  for i = 1, #lines, 4 do
    if not limit.covers or limit.covers[lines[i]] then
      sum = sum + lines[i + 1]
    end
  end
  return sum
end

local function order_limits(c, def, lines)
  if not def.per_order then
    return
  end
  for index, limit in ipairs(def.limits) do
    if limit[2] then
      local asked = covered(limit, lines)
      if asked > limit[2] then
        return refused(c, R.OrderLimit, index - 1, asked, limit[2])
      end
    end
  end
end

local function customer_limits(c, def, key, lines)
  if not def.per_customer then
    return
  end
  local counts = customer(c, key)
  for index, limit in ipairs(def.limits) do
    if limit[3] then
      local asked, has = covered(limit, lines), 0
      if asked > 0 then
        for i = 2, counts and #counts or 0, 2 do
          if not limit.covers or limit.covers[counts[i]] then
            has = has + counts[i + 1]
          end
        end
        if has + asked > limit[3] then
          return refused(c, R.CustomerLimit, index - 1, has, asked, limit[3])
        end
      end
    end
  end
end

-- What lines ask of each quota: {slot, tickets, …}.
local function asked_of(def, lines)
  local asked = {}
  for i = 1, #lines, 4 do
    for _, quota in ipairs(def.types[lines[i] + 1][7]) do
      local at = #asked + 1
      for j = 1, #asked, 2 do
        if asked[j] == quota then
          at = j
        end
      end
      asked[at], asked[at + 1] = quota, (asked[at + 1] or 0) + lines[i + 1]
    end
  end
  return asked
end

local function allotment(def, quota)
  return def.quotas[quota + 1][3] or UNLIMITED
end

-- Tickets of a quota that are held, and sold.
local function used(e, quota)
  local at = 6 + 2 * e[6] + 2 * quota
  return e[at + 1], e[at + 2]
end

local function free(e, def, quota)
  local held, sold = used(e, quota)
  return allotment(def, quota) - held - sold
end

-- Checks stock for lines; gives the live but due holds that must expire for it, as pairs of id and hold.
local function check_stock(c, def, lines)
  local e, asked, short = c.e, asked_of(def, lines), false
  for i = 1, #asked, 2 do
    if asked[i + 1] > free(e, def, asked[i]) then
      short = true
    end
  end
  if not short then
    return {}
  end
  local due, freed = {}, {}
  local key = c.k.due .. e[1]
  local members = call('ZRANGEBYSCORE', key, '-inf', c.now, 'LIMIT', 0, L.EXPIRED_PER_COMMAND_MAX)
  for _, member in ipairs(members) do
    local is_short = false
    for i = 1, #asked, 2 do
      local quota = asked[i]
      if asked[i + 1] > free(e, def, quota) + (freed[quota] or 0) then
        is_short = true
      end
    end
    if not is_short then
      break
    end
    local id = string.sub(member, 17)
    local hold = unpack_(field(c.k.holds, id))
    due[#due + 1], due[#due + 2] = id, hold
    local frees = asked_of(def, hold[8])
    for i = 1, #frees, 2 do
      freed[frees[i]] = (freed[frees[i]] or 0) + frees[i + 1]
    end
  end
  -- In the order of the definition.
  local order = {}
  for i = 1, #asked, 2 do
    order[#order + 1] = { def.quotas[asked[i] + 1][2], asked[i], asked[i + 1] }
  end
  table.sort(order, function(one, other) return one[1] < other[1] end)
  for _, want in ipairs(order) do
    local quota, n = want[2], want[3]
    local held, sold = used(e, quota)
    local more, right = freed[quota] or 0, allotment(def, quota)
    local name = def.quotas[quota + 1][1]
    if n > right - sold then
      return nil, refused(c, R.SoldOut, name, n, right - sold)
    elseif n > right - sold - held + more then
      return nil, refused(c, R.NoneFreeNow, name, n, right - sold - held + more, held - more)
    end
  end
  return due
end

local function check_cart(c, def, a, from, customer_key)
  local head = def.head
  if c.e[3] ~= S.Open then
    return nil, refused(c, R.NotOpen, c.e[3])
  end
  local bad = window(head[2], head[3], c, -1)
  if bad then
    return nil, bad
  end
  local lines, total = read_cart(c, def, a, from)
  if not lines then
    return nil, total
  end
  bad = order_limits(c, def, lines) or customer_limits(c, def, customer_key, lines)
  if bad then
    return nil, bad
  end
  local due, short = check_stock(c, def, lines)
  if not due then
    return nil, short
  end
  return lines, total, due
end

-- Moves the tickets of lines: `held` and `sold` say by how much the counts change for each ticket.
local function shift(e, def, lines, held, sold)
  for i = 1, #lines, 4 do
    local slot, n = lines[i], lines[i + 1]
    local at = 6 + 2 * slot
    e[at + 1], e[at + 2] = e[at + 1] + held * n, e[at + 2] + sold * n
    for _, quota in ipairs(def.types[slot + 1][7]) do
      local q = 6 + 2 * e[6] + 2 * quota
      e[q + 1], e[q + 2] = e[q + 1] + held * n, e[q + 2] + sold * n
    end
  end
end

-- Lines as a record has them: with the names of their types.
local function named(def, lines)
  local out, at = {}, 0
  for i = 1, #lines, 4 do
    out[at + 1], out[at + 2], out[at + 3] = def.types[lines[i] + 1][1], lines[i + 1], lines[i + 2]
    out[at + 4], out[at + 5] = lines[i + 3], lines[i]
    at = at + 5
  end
  return out
end

-- And back.
local function plain(lines)
  local out, at = {}, 0
  for i = 1, #lines, 5 do
    out[at + 1], out[at + 2], out[at + 3], out[at + 4] = lines[i + 4], lines[i + 1], lines[i + 2], lines[i + 3]
    at = at + 4
  end
  return out
end
