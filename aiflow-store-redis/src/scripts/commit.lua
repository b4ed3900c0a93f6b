-- Checks everything, then writes everything: nothing is taken back in Lua.
--
-- What the caller knows comes ready to be written: whatever is put together here, everybody waits for, and each byte that Lua takes into a new text
-- costs as much as writing it. ARGV: id of the store, newest offset that the caller knows of, what follows, a value for each put, and the entries of the log.
--   names: what is looked up: facts, the lease of a fence, the fields of expectations, puts and deletes, and the ids of events behind a colon.
--   expect: the revision that each of the first fields is to have.  guess: the place from which the values of puts count.
--   lists: beginnings of index entries.  runs: three values each: the place of a list in `lists`, a block counted from the guess, and what the list has of it.
--   created: moments of creation of the puts, if some are copies.  says: for each event its place in the batch and a digest of what it says.
--   counts: events of each entry of the log.  moments: when they were recorded, if they are copies.
local at, epoch, n_events, is_distinct, names, expect, n_puts, guess, lists, runs, created, relate, unrelate, says, counts,
  moments = unpack(cmsgpack.unpack(ARGV[3]), 1, 16)

-- Where what is looked up begins, and the values of puts.
local N_FACTS, N_ARGS = epoch and 7 or 6, 3
-- As many values as Lua's stack takes at once, and some room; even, for pairs.
local CHUNK = 4000
-- Bytes of a value before its columns: place, revision and two moments.
local HEAD = 32
local LETTERS = {'p', 'o', 'n', 's'}
local call, format, pack, read = redis.call, string.format, struct.pack, struct.unpack

local function look_up(fields)
  if #fields <= CHUNK then return call('HMGET', DATA, unpack(fields)) end
  local found = {}
  for from = 1, #fields, CHUNK do
    local values = call('HMGET', DATA, unpack(fields, from, math.min(from + CHUNK - 1, #fields)))
    for i = 1, #values do found[from + i - 1] = values[i] end
  end
  return found
end

local function write(command, key, values)
  for from = 1, #values, CHUNK do
    call(command, key, unpack(values, from, math.min(from + CHUNK - 1, #values)))
  end
end

local found = look_up(names)
if found[1] ~= ARGV[1] then return {'GONE'} end
local last = tonumber(found[2])
if last < tonumber(ARGV[2]) then return {'BACK', found[2]} end
if epoch then
  local held = found[7] and found[7]:match('^%d+') or '0'
  if held ~= epoch then return {'FENCED', held} end
end
for i = 1, #expect do
  local value = found[N_FACTS + i]
  local revision = value and read('>d', value, 9) or 0
  if revision ~= expect[i] then return {'CONFLICT', i - 1, int(revision)} end
end

-- An id's entry: the offset before its batch, its place in that, and the digest.
local function offset_of(entry)
  local before, n = read('>dI4', entry)
  return before + n
end

-- Mostly every event is new; otherwise `offsets` has that of each, and `fresh` the entries of those that are.
local before_ids, offsets, fresh = #names - n_events, nil, nil
local is_new = is_distinct
for i = 1, n_events do is_new = is_new and not found[before_ids + i] end
if not is_new then
  local own, newest = {}, last
  offsets, fresh = {}, {}
  for i = 1, n_events do
    local id, digest = names[before_ids + i], says[i]:sub(5)
    local entry = found[before_ids + i] or own[id]
    if entry then
      if entry:sub(13) ~= digest then return {'EXISTS', i - 1, int(offset_of(entry))} end
    else
      newest = newest + 1
      entry = pack('>dI4', newest, 0) .. digest
      own[id], fresh[i] = entry, entry
    end
    offsets[i] = offset_of(entry)
  end
end

-- From here on everything is written, most of it at the end.

local written, n_written = {}, 0
local function set(field, value)
  written[n_written + 1], written[n_written + 2] = field, value
  n_written = n_written + 2
end

-- Those lines of an entry of the log that are new, and how many; `before` events of the batch come before it.
local function fresh_lines(events, before)
  local lines, i = {}, before
  for line in events:gmatch('[^\n]+') do
    i = i + 1
    if fresh[i] then lines[#lines + 1] = line end
  end
  return table.concat(lines, '\n'), #lines
end

local first = last + 1
if n_events > 0 then
  local time = call('TIME')
  local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  local recorded, base, done = tonumber(found[3]), pack('>d', last), 0
  for n = 1, #counts do
    local count, events = counts[n], ARGV[N_ARGS + n_puts + n]
    done = done + count
    if fresh then events, count = fresh_lines(events, done - count) end
    if count > 0 then
      last = last + count
      recorded = math.max(recorded, moments and moments[n] or now)
      call('XADD', LOG, int(last) .. '-0', 'n', count, 'at', int(recorded), 'events', events)
    end
  end
  for i = 1, n_events do
    if not fresh then
      set(names[before_ids + i], base .. says[i])
    elseif fresh[i] then
      set(names[before_ids + i], fresh[i])
    end
  end
  set('last', int(last))
  set('recorded', int(recorded))
end

local added, removed = {}, {}
local function add(entry)
  added[#added + 1] = '0'
  added[#added + 1] = entry
end

-- What changes in blocks that are there: block of a list -> place in it -> what stands there from now on, or false.
local edits, edited = {}, {}
local function edit(list, place, piece)
  local key = list .. format('%016x', block_of(place))
  local edit = edits[key]
  if not edit then
    edit = {}
    edits[key], edited[#edited + 1] = edit, key
  end
  edit[place % BLOCK] = piece
end

-- A record that is there keeps its place, and is listed by what it says now; without a value it is in no list.
local function list_anew(field, value, new)
  local id_from = 9 + tonumber(field:sub(1, 8), 16)
  local kind, id, place = field:sub(1, id_from - 1), field:sub(id_from), read('>d', value)
  local piece = pack('>BI4', place % BLOCK, #id) .. id
  local function columns_of(value) return {cmsgpack.unpack(value:sub(37, 36 + read('>I4', value, 33)))} end
  local was, is = columns_of(value), new and columns_of(new) or {}
  local function list_of(column, text)
    return text and text ~= '' and kind .. LETTERS[column] .. format('%08x', #text) .. text or nil
  end
  for column = 1, #LETTERS do
    local before, now = list_of(column, was[column]), list_of(column, is[column])
    if before ~= now then
      if before then edit(before, place, false) end
      if now then edit(now, place, piece) end
    end
  end
  if not new then edit(kind .. 'a', place, false) end
end

local base, newest, lag, n_new = tonumber(found[4]), tonumber(found[5]), tonumber(found[6]), 0
local puts_from = N_FACTS + #expect
-- Blocks of this batch in which some records are there already.
local mixed = {}
for i = 1, n_puts do
  local field, value, new = names[puts_from + i], found[puts_from + i], ARGV[N_ARGS + i]
  if value then
    mixed[math.floor((i - 1) / BLOCK)] = true
    local place, revision, made = read('>ddd', value)
    local edge = 36 + read('>I4', value, 33)
    if value:sub(33, edge) ~= new:sub(33, edge) then list_anew(field, value, new) end
    set(field, pack('>dddd', place, revision + 1, made, at) .. new:sub(HEAD + 1))
  else
    n_new = n_new + 1
    if guess ~= base then new = pack('>d', base + i - 1) .. new:sub(9) end
    set(field, new)
    local made = created and created[i] or at
    -- The latest moment of creation so far, and by how much one was before it at most.
    if made > newest then newest = made elseif newest - made > lag then lag = newest - made end
  end
end

-- What of a block belongs to records that are new.
local function new_pieces(pieces, block)
  local kept, from = {}, 1
  while from <= #pieces do
    local slot, edge = piece_at(pieces, from)
    if not found[puts_from + block * BLOCK + slot + 1] then kept[#kept + 1] = pieces:sub(from, edge) end
    from = edge + 1
  end
  return table.concat(kept)
end

if n_new > 0 then
  for i = 1, #runs, 3 do
    local list, block, pieces = lists[runs[i]], runs[i + 1], runs[i + 2]
    if mixed[block] then pieces = new_pieces(pieces, block) end
    if pieces ~= '' then add(list .. format('%016x', base + block * BLOCK) .. pieces) end
  end
  -- Each batch begins a block.
  base = base + math.ceil(n_puts / BLOCK) * BLOCK
  set('sequence', int(base))
  if int(newest) ~= found[5] then set('newest', int(newest)) end
  if int(lag) ~= found[6] then set('lag', int(lag)) end
end

local gone = {}
for i = puts_from + n_puts + 1, before_ids do
  if found[i] then
    list_anew(names[i], found[i], nil)
    gone[#gone + 1] = names[i]
  end
end

for n = 1, #edited do
  local key, pieces = edited[n], {}
  local stored = call('ZRANGEBYLEX', INDEX, '[' .. key, '(' .. key .. '\255', 'LIMIT', 0, 1)[1]
  if stored then
    removed[#removed + 1] = stored
    local from = #key + 1
    while from <= #stored do
      local slot, edge = piece_at(stored, from)
      pieces[slot] = stored:sub(from, edge)
      from = edge + 1
    end
  end
  for slot, piece in pairs(edits[key]) do pieces[slot] = piece or nil end
  local kept = {}
  for slot = 0, BLOCK - 1 do kept[#kept + 1] = pieces[slot] end
  if #kept > 0 then add(key .. table.concat(kept)) end
end

write('HDEL', DATA, gone)
write('HSET', DATA, written)
write('ZREM', INDEX, removed)
write('ZADD', INDEX, added)
write('ZREM', RELATION, unrelate)
write('ZADD', RELATION, relate)

return {'OK', int(last), base, offsets and 0 or first, offsets}
