-- One page of relations: walks lists of entries one after the other, the first from where the last page ended.
local lists, after, rows, skip_kind, ends = unpack(cmsgpack.unpack(ARGV[3]), 1, 5)

local LOOKED_MAX = 20000
local wanted = {}
if ends then
  for i = 1, #ends do wanted[ends[i]] = true end
end

local function is_wanted(rest)
  if not ends then return true end
  if skip_kind then rest = rest:sub(9 + tonumber(rest:sub(1, 8), 16)) end
  return wanted[rest]
end

local found, looked, position = {}, 0, after or nil
for i = 1, #lists do
  local list = lists[i]
  while true do
    local from = position and '(' .. position or '[' .. list
    local count = ends and 1000 or rows - #found
    local entries = redis.call('ZRANGEBYLEX', RELATION, from, '(' .. list .. 'g', 'LIMIT', 0, count)
    for n = 1, #entries do
      position = entries[n]
      if is_wanted(position:sub(#list + 1)) then found[#found + 1] = position end
      if #found == rows then return {'OK', facts[2], '', found} end
    end
    looked = looked + #entries
    if #entries < count then break end
    if looked >= LOOKED_MAX then return {'OK', facts[2], position, found} end
  end
  position = nil
end
return {'OK', facts[2], '', found}
