-- Checks everything, then writes everything: nothing is taken back in Lua.
--
-- What the caller knows comes ready to be written, in flat lists: whatever is put together here, everybody waits for.
--   expect: the revision that each of the first `fields` is to have.  fields: those of expectations, puts and deletes, in this order.
--   lists: beginnings of index entries.  puts: eight values each, see PUT.  events: ids, digests of what they say, JSON, moments of copies.
local at, fence, expect, fields, lists, puts, relate, unrelate, ids, digests, events, moments, distinct =
  unpack(cmsgpack.unpack(ARGV[3]), 1, 13)

-- A put: the places in `lists` of all, project, parent, name and state (0: no such entry), the id, what follows the head of the record, and
-- the stamp of a copy.
local PUT, ID_AT, TAIL_AT, STAMP_AT = 8, 6, 7, 8
local LETTERS = {'p', 'o', 'n', 's'}
-- As many values as Lua's stack takes at once, and some room; even, for pairs.
local CHUNK = 4000
local format, pack_head, read_head = string.format, struct.pack, struct.unpack

local function look_up(key, names)
  if #names == 0 then return names end
  if #names <= CHUNK then return redis.call('HMGET', key, unpack(names)) end
  local found = {}
  for from = 1, #names, CHUNK do
    local values = redis.call('HMGET', key, unpack(names, from, math.min(from + CHUNK - 1, #names)))
    for i = 1, #values do found[from + i - 1] = values[i] end
  end
  return found
end

local function write(command, key, values)
  for from = 1, #values, CHUNK do
    redis.call(command, key, unpack(values, from, math.min(from + CHUNK - 1, #values)))
  end
end

if fence then
  local held = redis.call('HGET', LEASE, fence[1])
  local epoch = held and held:match('^%d+') or '0'
  if epoch ~= fence[2] then return {'FENCED', epoch} end
end

local stored = look_up(RECORD, fields)
for i = 1, #expect do
  local value = stored[i]
  local revision = value and read_head('>d', value, 9) or 0
  if revision ~= expect[i] then return {'CONFLICT', i - 1, int(revision)} end
end

local known = look_up(ID, ids)
local last, offsets, fresh, entries, own = tonumber(facts[2]), {}, {}, {}, {}
for i = 1, #ids do
  local id, digest = ids[i], digests[i]
  local entry = known[i] or own[id]
  if entry then
    local offset, said = entry:match('^(%d+) (.*)$')
    if said ~= digest then return {'EXISTS', i - 1, offset} end
    offsets[i] = tonumber(offset)
  else
    last = last + 1
    offsets[i] = last
    entry = format('%.0f %s', last, digest)
    if not distinct then own[id] = entry end
    fresh[#fresh + 1] = i
    entries[#entries + 1] = id
    entries[#entries + 1] = entry
  end
end

-- From here on everything is written.

if #fresh > 0 then
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  local recorded = tonumber(facts[4])
  local call, moment = redis.call, nil
  for n = 1, #fresh do
    local i = fresh[n]
    local before = recorded
    recorded = math.max(recorded, moments[i] or now)
    if recorded ~= before or not moment then moment = int(recorded) end
    call('XADD', LOG, format('%.0f-0', offsets[i]), 'id', ids[i], 'at', moment, 'event', events[i])
  end
  write('HSET', ID, entries)
  call('HSET', META, 'last', int(last), 'recorded', int(recorded))
end

local added, removed = {}, {}

local function add(entry)
  added[#added + 1] = 0
  added[#added + 1] = entry
end

-- The project, parent, name and state of a stored record, and where they end.
local function columns_of(value)
  local edge = 36 + read_head('>I4', value, 33)
  return {cmsgpack.unpack(value:sub(37, edge))}, edge
end

-- A record that is there keeps its place, and is listed by what it says now.
local function list_anew(field, value, first)
  local kind, id = kind_and_id(field)
  local was, place = columns_of(value), format('%016x', (read_head('>d', value))) .. id
  for column = 1, #LETTERS do
    local before = was[column] ~= '' and kind .. LETTERS[column] .. part(was[column]) or nil
    local now = first and lists[puts[first + column]]
    if before ~= now then
      if before then removed[#removed + 1] = before .. place end
      if now then add(now .. place) end
    end
  end
  if not first then removed[#removed + 1] = kind .. 'a' .. place end
end

local n_expect, n_puts, gone = #expect, #puts / PUT, {}
for i = n_expect + n_puts + 1, #fields do
  if stored[i] then
    list_anew(fields[i], stored[i], nil)
    gone[#gone + 1] = fields[i]
  end
end

local sequence, written = tonumber(facts[5]), {}
-- The latest moment of creation so far, and by how much one was before it at most.
local newest, lag = tonumber(facts[6]), tonumber(facts[7])
for i = 1, n_puts do
  local first, field, value = (i - 1) * PUT + 1, fields[n_expect + i], stored[n_expect + i]
  local tail, head = puts[first + TAIL_AT - 1], nil
  if value then
    local place, revision, created = read_head('>ddd', value)
    head = pack_head('>dddd', place, revision + 1, created, at)
    local edge = 36 + read_head('>I4', value, 33)
    if value:sub(33, edge) ~= tail:sub(1, edge - 32) then list_anew(field, value, first) end
  else
    sequence = sequence + 1
    local revision, created, updated = 1, at, at
    local stamp = puts[first + STAMP_AT - 1]
    if stamp then revision, created, updated = stamp[1], stamp[2], stamp[3] end
    head = pack_head('>dddd', sequence, revision, created, updated)
    if created > newest then newest = created elseif newest - created > lag then lag = newest - created end
    local place = format('%016x', sequence) .. puts[first + ID_AT - 1]
    for column = first, first + #LETTERS do
      local list = lists[puts[column]]
      if list then add(list .. place) end
    end
  end
  written[2 * i - 1], written[2 * i] = field, head .. tail
end

write('HDEL', RECORD, gone)
write('HSET', RECORD, written)
write('ZREM', INDEX, removed)
write('ZADD', INDEX, added)
if sequence ~= tonumber(facts[5]) then
  redis.call('HSET', META, 'sequence', int(sequence), 'newest', int(newest), 'lag', int(lag))
end
write('ZREM', RELATION, unrelate)
write('ZADD', RELATION, relate)

-- Mostly every event is new, and the first offset says it all.
if #fresh == #ids then return {'OK', int(last), last - #ids + 1} end
return {'OK', int(last), 0, offsets}
