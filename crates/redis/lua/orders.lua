-- Commands on orders and their payments. Arguments from 10 on. A code is opened by the caller: here an order is
-- its sequence and its generation.

local function place_order(c, a, purchase, first)
  local sequence, head = c.o + 1, definition(c).head
  if sequence > L.ORDERS_PER_SHARD_MAX then
    return nil, refused(c, R.ShardFull)
  end
  local due = purchase.total > 0 and c.now + head[5] * 1000000
  local fact = { sequence, c.g, purchase.hold, purchase.customer, purchase.key, purchase.lines, purchase.total, head[1],
    due, purchase.set }
  return own(c, a, K.OrderPlaced, fact, first)
end

-- hold, customer, its key
local claim_hold = run_on_event(function(c, a)
  local hold, bad = live_hold(c, a[10])
  if not hold then
    return nil, bad
  end
  if hold[7] ~= a[12] then
    return nil, refused(c, R.HoldOfAnother)
  end
  local lines, total = hold[8], 0
  for i = 1, #lines, 4 do
    total = total + lines[i + 1] * lines[i + 2]
  end
  return place_order(c, a, { hold = a[10], customer = a[11], key = a[12], lines = named(definition(c), lines),
    total = total, set = hold[6] })
end)

-- customer, its key, items
local buy = run_on_event(function(c, a)
  local def = definition(c)
  local lines, total, due = check_cart(c, def, a, 12, a[11])
  if not lines then
    return nil, total
  end
  return place_order(c, a, { hold = false, customer = a[10], key = a[11], lines = named(def, lines), total = total,
    set = false }, expiries(c, due))
end)

-- An order of the event, or nothing.
local function known_order(c, sequence, generation)
  local packed = field(c.k.orders, sequence)
  local order = packed and unpack_(packed)
  return order and order[1] == c.e[1] and order[5] == tonumber(generation) and order
end

-- Whether an order that was cancelled as unpaid can have its stock again: the due holds that must expire for it, or
-- the reason for a refund.
local function late_payment(c, def, order)
  local on_sale, all = {}, true
  for i = 1, #order[7], 4 do
    if def.types[order[7][i] + 1][2] then
      for j = 0, 3 do
        on_sale[#on_sale + 1] = order[7][i + j]
      end
    else
      all = false
    end
  end
  if customer_limits(c, def, order[3], on_sale) then
    return nil, B.LimitReached
  end
  local due = all and check_stock(c, def, on_sale)
  if not due then
    return nil, B.StockGone
  end
  return due
end

-- sequence, generation, reference, its key, amount, currency, when it was paid ('': now)
local record_payment = run_on_event(function(c, a)
  local order = known_order(c, a[10], a[11])
  if not order then
    return nil, refused(c, R.UnknownOrder)
  end
  local total = 0
  for i = 1, #order[7], 4 do
    total = total + order[7][i + 1] * order[7][i + 2]
  end
  if total == 0 then
    return nil, refused(c, R.NothingToPay)
  end
  if tonumber(a[14]) ~= total then
    return nil, refused(c, R.PaymentAmount, total)
  end
  local def = definition(c)
  if a[15] ~= def.head[1] then
    return nil, refused(c, R.PaymentCurrency, def.head[1])
  end
  local paid_at = a[16] == '' and c.now or tonumber(a[16])
  if paid_at < 0 or paid_at > c.now + L.PAID_AHEAD_US then
    return nil, refused(c, R.PaidAt)
  end
  local known = field(c.k.payments, a[13])
  if known then
    known = unpack_(known)
    if whole(known[1]) == a[10] then
      return nil, { W.Repeated, c.p, known[3] }
    end
    return nil, refused(c, R.ReferenceUsed, known[1], order_at(c, known[1])[5])
  end
  if #order[8] >= L.PAYMENTS_PER_ORDER_MAX then
    return nil, refused(c, R.TooManyPayments)
  end
  local outcome, reason, due = U.RefundDue, 0, {}
  if order[6] == O.AwaitingPayment then
    outcome = U.Applied
  elseif order[6] == O.Confirmed then
    reason = B.AlreadyPaid
  elseif order[6] == O.Unpaid then
    local again, why = late_payment(c, def, order)
    if again then
      outcome, due = U.Reinstated, again
    else
      reason = why
    end
  else
    reason = B.Cancelled
  end
  local fact = { tonumber(a[10]), order[5], V.External, a[12], a[13], total, def.head[1], paid_at, outcome, reason }
  return own(c, a, K.PaymentRecorded, fact, expiries(c, due))
end)

-- sequence ('': whichever), generation, reference, its key
local record_refund = run_on_event(function(c, a)
  local packed = field(c.k.payments, a[13])
  local payment = packed and unpack_(packed)
  if not payment then
    return nil, refused(c, R.UnknownPayment)
  end
  local generation = order_at(c, payment[1])[5]
  if a[10] ~= '' and (a[10] ~= whole(payment[1]) or tonumber(a[11]) ~= generation) then
    return nil, refused(c, R.UnknownPayment)
  end
  if payment[4] == P.Applied then
    return nil, refused(c, R.NotDueBack)
  elseif payment[4] == P.Refunded then
    return nil, { W.Repeated, c.p, payment[5] }
  end
  return own(c, a, K.PaymentRefunded, { payment[1], generation, a[12], a[13] })
end)

-- sequence, generation, whether the caller may cancel a confirmed one
local cancel_order = run_on_event(function(c, a)
  local order = known_order(c, a[10], a[11])
  if not order then
    return nil, refused(c, R.UnknownOrder)
  end
  local state, manage = order[6], a[12] == '1'
  if state ~= O.AwaitingPayment and state ~= O.Confirmed then
    return nil, refused(c, R.OrderCancelled, state)
  end
  if state == O.Confirmed and not manage then
    return nil, refused(c, R.NeedsManage)
  end
  local reason = manage and O.Organizer or O.Customer
  return own(c, a, K.OrderCancelled, { tonumber(a[10]), order[5], reason })
end)

-- sequence, generation
local expire_order = run_on_event(function(c, a)
  local order = known_order(c, a[10], a[11])
  if not order or order[6] ~= O.AwaitingPayment or not order[4] or order[4] > c.now then
    return nil, refused(c, R.NotDue)
  end
  return { record(c, K.OrderCancelled, { tonumber(a[10]), order[5], O.Unpaid }) }
end)
