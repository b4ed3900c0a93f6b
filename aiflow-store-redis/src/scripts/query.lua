-- One page of records: walks lists of the index side by side, in the order of first puts, and looks into what it finds.
local kind, lists, after, descending, rows, wanted = unpack(cmsgpack.unpack(ARGV[3]), 1, 6)

-- Entries looked at in one run, so that a filter that matches little does not hold up the server.
local LOOKED_MAX = 5000
-- Entries fetched at once from each of many lists.
local FETCH_MIN = 16

local function fetch(list, position, count)
  if descending then
    return redis.call('ZREVRANGEBYLEX', INDEX, '(' .. list .. (position or 'g'), '[' .. list, 'LIMIT', 0, count)
  end
  local from = position and '(' .. list .. position .. '\255' or '[' .. list
  return redis.call('ZRANGEBYLEX', INDEX, from, '(' .. list .. 'g', 'LIMIT', 0, count)
end

-- Lua compares texts as the locale has it, so places are compared as numbers.
local function number(place) return tonumber(place:sub(1, 16), 16) end

local function before(one, other)
  if descending then return one[1] > other[1] end
  return one[1] < other[1]
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

local found, looked, position = {}, 0, after or nil
while true do
  local missing = rows - #found / 3
  local count = #wanted > 0 and math.max(missing, 100) or missing
  if #lists > 1 then count = math.max(math.ceil(2 * count / #lists), FETCH_MIN) end
  local places, edge = {}, nil
  for i = 1, #lists do
    local entries = fetch(lists[i], position, count)
    for n = 1, #entries do
      local place = entries[n]:sub(#lists[i] + 1)
      places[#places + 1] = {number(place), place}
    end
    if #entries == count then
      local place = places[#places]
      if not edge or before(place, edge) then edge = place end
    end
  end
  if #lists > 1 then table.sort(places, before) end
  -- Beyond the edge, a list that was cut may have more.
  while edge and before(edge, places[#places]) do places[#places] = nil end
  local step = 1000
  for from = 1, #places, step do
    local fields = {}
    for i = from, math.min(from + step - 1, #places) do fields[#fields + 1] = kind .. places[i][2]:sub(17) end
    local values = redis.call('HMGET', RECORD, unpack(fields))
    for i = 1, #fields do
      if #found < 3 * rows and matches(values[i]) then
        found[#found + 1] = places[from + i - 1][2]:sub(1, 16)
        found[#found + 1] = fields[i]
        found[#found + 1] = values[i]
      end
    end
    if #found == 3 * rows then break end
  end
  looked = looked + #places
  if not edge or #found == 3 * rows then return {'OK', facts[2], '', found} end
  position = places[#places][2]:sub(1, 16)
  if looked >= LOOKED_MAX then return {'OK', facts[2], position, found} end
end
