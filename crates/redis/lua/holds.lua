-- Commands on holds. Arguments from 10 on.

-- A hold of the event that lives and is not due, or the refusal that says why there is none.
local function live_hold(c, id)
  local packed = field(c.k.holds, id)
  local hold = packed and unpack_(packed)
  if not hold or hold[2] ~= c.e[1] then
    return nil, refused(c, R.UnknownHold)
  end
  if hold[1] == 2 then
    if hold[3] == E.Claimed then
      return nil, refused(c, R.HoldClaimed, hold[4], order_at(c, hold[4])[5])
    end
    return nil, refused(c, hold[3] == E.Expired and R.HoldExpired or R.HoldReleased, hold[4])
  end
  if hold[4] <= c.now then
    return nil, refused(c, R.HoldExpired, hold[4])
  end
  return hold
end

-- hold, customer, its key, items
local place_hold = run_on_event(function(c, a)
  if field(c.k.holds, a[10]) then
    return nil, refused(c, R.HoldIdTaken)
  end
  local def = definition(c)
  local lines, total, due = check_cart(c, def, a, 13, a[12])
  if not lines then
    return nil, total
  end
  local expires = c.now + def.head[4] * 1000000
  local fact = { a[10], a[11], a[12], expires, named(def, lines), total, def.head[1] }
  return own(c, a, K.HoldPlaced, fact, expiries(c, due))
end)

-- hold
local extend_hold = run_on_event(function(c, a)
  local hold, bad = live_hold(c, a[10])
  if not hold then
    return nil, bad
  end
  if c.e[3] ~= S.Open then
    return nil, refused(c, R.NotOpen, c.e[3])
  end
  if hold[5] then
    return nil, refused(c, R.ExtendedBefore)
  end
  -- The definition may give less time by now; an extension never takes any away.
  local expires = math.max(c.now + definition(c).head[4] * 1000000, hold[4])
  return own(c, a, K.HoldExtended, { a[10], expires, hold[6], hold[4] })
end)

-- hold
local release_hold = run_on_event(function(c, a)
  local hold, bad = live_hold(c, a[10])
  if not hold then
    return nil, bad
  end
  return own(c, a, K.HoldReleased, ended(a[10], hold))
end)

-- hold
local expire_hold = run_on_event(function(c, a)
  local packed = field(c.k.holds, a[10])
  local hold = packed and unpack_(packed)
  if not hold or hold[1] ~= 1 or hold[2] ~= c.e[1] or hold[4] > c.now then
    return nil, refused(c, R.NotDue)
  end
  return { record(c, K.HoldExpired, ended(a[10], hold)) }
end)
