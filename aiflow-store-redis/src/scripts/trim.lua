-- Removes the oldest events, some at a time, with their ids. An entry of the log goes with its last event.
local ENTRIES = 40
local trimmed = tonumber(facts[3])
local through = math.min(tonumber(ARGV[3]), tonumber(facts[2]))
if through <= trimmed then return {'OK', facts[2], 0} end

-- The id stands first in the JSON of an event.
local function id_of(line)
  local plain = line:match('^{"id":"([^"\\]*)"')
  if plain then return plain end
  local edge = 8
  while true do
    edge = line:find('["\\]', edge)
    if line:sub(edge, edge) == '"' then break end
    edge = edge + 2
  end
  return cjson.decode('[' .. line:sub(7, edge) .. ']')[1]
end

local upto, ids = trimmed, {}
for _, entry in ipairs(redis.call('XRANGE', LOG, int(trimmed + 1), '+', 'COUNT', ENTRIES)) do
  local last = tonumber(entry[1]:match('^%d+'))
  local offset = last - tonumber(entry[2][2])
  for line in entry[2][6]:gmatch('[^\n]+') do
    offset = offset + 1
    if offset > trimmed and offset <= through then ids[#ids + 1] = ':' .. id_of(line) end
  end
  upto = math.min(last, through)
  if last >= through then break end
end
if #ids > 0 then redis.call('HDEL', DATA, unpack(ids)) end
redis.call('XTRIM', LOG, 'MINID', int(upto + 1))
redis.call('HSET', DATA, 'trimmed', int(upto))
return {'OK', facts[2], upto < through and 1 or 0}
