-- Checks everything, then writes everything: nothing is taken back in Lua.
local batch = cmsgpack.unpack(ARGV[3])
local at, fence, expect, puts, deletes, relate, unrelate, events = unpack(batch, 1, 8)

-- As many values as Lua's stack takes at once, and some room; even, for pairs.
local CHUNK = 4000

local function look_up(key, fields)
  local found = {}
  for from = 1, #fields, CHUNK do
    local to = math.min(from + CHUNK - 1, #fields)
    local values = redis.call('HMGET', key, unpack(fields, from, to))
    for i = from, to do found[fields[i]] = values[i - from + 1] end
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

local fields = {}
for i = 1, #expect do fields[#fields + 1] = expect[i][1] end
for i = 1, #puts do fields[#fields + 1] = puts[i][1] end
for i = 1, #deletes do fields[#fields + 1] = deletes[i] end
local stored = look_up(RECORD, fields)

local function head_of(value)
  local _, head = cmsgpack.unpack_one(value)
  return head
end

for i = 1, #expect do
  local value = stored[expect[i][1]]
  local revision = value and head_of(value)[2] or 0
  if revision ~= expect[i][2] then return {'CONFLICT', i - 1, int(revision)} end
end

local ids = {}
for i = 1, #events do ids[i] = events[i][1] end
local known = look_up(ID, ids)
local last, offsets, fresh = tonumber(facts[2]), {}, {}
for i = 1, #events do
  local id, digest = events[i][1], events[i][2]
  local entry = known[id]
  if entry then
    local offset, said = entry:match('^(%d+) (.*)$')
    if said ~= digest then return {'EXISTS', i - 1, offset} end
    offsets[i] = tonumber(offset)
  else
    last = last + 1
    offsets[i] = last
    known[id] = int(last) .. ' ' .. digest
    fresh[#fresh + 1] = i
  end
end

-- From here on everything is written.

if #fresh > 0 then
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  local recorded, entries = tonumber(facts[4]), {}
  for n = 1, #fresh do
    local i = fresh[n]
    local event = events[i]
    recorded = math.max(recorded, event[4] or now)
    redis.call('XADD', LOG, int(offsets[i]) .. '-0', 'id', event[1], 'at', int(recorded), 'event', event[3])
    entries[2 * n - 1], entries[2 * n] = event[1], known[event[1]]
  end
  write('HSET', ID, entries)
  redis.call('HSET', META, 'last', int(last), 'recorded', int(recorded))
end

local added, removed = {}, {}
-- The lists of project, parent, name and state, by the place of each in the head of a record.
local LETTERS = {[5] = 'p', [6] = 'o', [7] = 'n', [8] = 's'}

local function add(entry)
  added[#added + 1] = 0
  added[#added + 1] = entry
end

-- Moves the entries by which a record is found. A record without head was not or will not be there.
local function index(field, was, now)
  local kind, id = kind_and_id(field)
  local place = string.format('%016x', (now or was)[1]) .. id
  if not was then add(kind .. 'a' .. place) end
  if not now then removed[#removed + 1] = kind .. 'a' .. place end
  for column, letter in pairs(LETTERS) do
    local old, new = was and was[column] or '', now and now[column] or ''
    if old ~= new then
      if old ~= '' then removed[#removed + 1] = kind .. letter .. part(old) .. place end
      if new ~= '' then add(kind .. letter .. part(new) .. place) end
    end
  end
end

local gone = {}
for i = 1, #deletes do
  local value = stored[deletes[i]]
  if value then
    index(deletes[i], head_of(value), nil)
    gone[#gone + 1] = deletes[i]
  end
end

local sequence, values = tonumber(facts[5]), {}
for i = 1, #puts do
  local field, project, parent, name, state, body, number, stamp = unpack(puts[i], 1, 8)
  local value = stored[field]
  local was = value and head_of(value) or nil
  local now
  if was then
    now = {was[1], was[2] + 1, was[3], at, project, parent, name, state}
  else
    sequence = sequence + 1
    stamp = stamp or {1, at, at}
    now = {sequence, stamp[1], stamp[2], stamp[3], project, parent, name, state}
  end
  index(field, was, now)
  if number then now[9] = number end
  values[2 * i - 1], values[2 * i] = field, cmsgpack.pack(now) .. body
end

write('HDEL', RECORD, gone)
write('HSET', RECORD, values)
write('ZREM', INDEX, removed)
write('ZADD', INDEX, added)
if sequence ~= tonumber(facts[5]) then redis.call('HSET', META, 'sequence', int(sequence)) end
write('ZREM', RELATION, unrelate)
write('ZADD', RELATION, relate)

-- Mostly every event is new, and the first offset says it all.
if #fresh == #events then return {'OK', int(last), last - #events + 1} end
return {'OK', int(last), 0, offsets}
