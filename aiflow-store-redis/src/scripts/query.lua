-- One page of records: walks lists of the index side by side, in the order of first puts, and looks into what it finds.
local kind, lists, after, descending, rows, wanted = unpack(cmsgpack.unpack(ARGV[3]), 1, 6)

-- Records looked at in one run, so that a filter that matches little does not hold up the server.
local LOOKED_MAX = 5000
-- The most blocks fetched at once, from all lists.
local FETCH_MAX = 100

-- The entries of a list for some blocks from `block` on.
local function fetch(list, block, count)
  if descending then
    local to = '(' .. list .. (block and string.format('%016x', block + BLOCK) or 'g')
    return redis.call('ZREVRANGEBYLEX', INDEX, to, '[' .. list, 'LIMIT', 0, count)
  end
  local from = '[' .. list .. (block and string.format('%016x', block) or '')
  return redis.call('ZRANGEBYLEX', INDEX, from, '(' .. list .. 'g', 'LIMIT', 0, count)
end

local function before(one, other)
  if descending then return one[1] > other[1] end
  return one[1] < other[1]
end

-- Adds what an entry has behind `after`, in the order of the page, and returns its block.
local function unfold(entry, from, places)
  local block, here = tonumber(entry:sub(from, from + 15), 16), {}
  from = from + 16
  while from <= #entry do
    local slot, edge = piece_at(entry, from)
    local place = block + slot
    if not after or (descending and place < after) or (not descending and place > after) then
      here[#here + 1] = {place, entry:sub(from + 5, edge)}
    end
    from = edge + 1
  end
  for i = 1, #here do places[#places + 1] = here[descending and #here + 1 - i or i] end
  return block
end

local function matches(value)
  if #wanted == 0 then return true end
  -- Project, parent, name and state, behind their length.
  local columns = {cmsgpack.unpack(value:sub(37, 36 + struct.unpack('>I4', value, 33)))}
  for i = 1, #wanted do
    local column, values = wanted[i][1], wanted[i][2]
    local is = false
    for j = 1, #values do is = is or columns[column] == values[j] end
    if not is then return false end
  end
  return true
end

after = after and tonumber(after, 16) or nil
local found, looked, block = {}, 0, nil
if after then block = block_of(descending and math.max(after - 1, 0) or after + 1) end
-- A list may have one record of each block, or all.
local count = math.ceil(rows / 16 / #lists) + 1
while true do
  local places, edge = {}, nil
  for i = 1, #lists do
    local entries, last = fetch(lists[i], block, count), nil
    for n = 1, #entries do last = unfold(entries[n], #lists[i] + 1, places) end
    if #entries == count and (not edge or before({last}, {edge})) then edge = last end
  end
  if #lists > 1 then table.sort(places, before) end
  -- Beyond the edge, a list that was cut may have more.
  while edge and #places > 0 and before({edge}, {block_of(places[#places][1])}) do places[#places] = nil end
  local step = 1000
  for from = 1, #places, step do
    local fields = {}
    for i = from, math.min(from + step - 1, #places) do fields[#fields + 1] = kind .. places[i][2] end
    local values = redis.call('HMGET', DATA, unpack(fields))
    for i = 1, #fields do
      if #found < 3 * rows and matches(values[i]) then
        found[#found + 1] = string.format('%016x', places[from + i - 1][1])
        found[#found + 1] = fields[i]
        found[#found + 1] = values[i]
      end
    end
    if #found == 3 * rows then break end
  end
  looked = looked + #places
  if not edge or #found == 3 * rows or (descending and edge == 0) then return {'OK', facts[2], '', found} end
  after = descending and edge or edge + BLOCK - 1
  block = descending and edge - BLOCK or edge + BLOCK
  if looked >= LOOKED_MAX then return {'OK', facts[2], string.format('%016x', after), found} end
  count = math.min(2 * count, math.max(2, math.floor(FETCH_MAX / #lists)))
end
