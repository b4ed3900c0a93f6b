-- Before every script but `open`: is this the store that the caller opened, and has it not gone back?
-- KEYS: the keys of the layout. ARGV: id of the store, newest offset that the caller knows of, what the script is asked.
local META, RECORD, INDEX, RELATION, LOG, ID, LEASE = unpack(KEYS)
local facts = redis.call('HMGET', META, 'store', 'last', 'trimmed', 'recorded', 'sequence', 'newest', 'lag')
if facts[1] ~= ARGV[1] then return {'GONE'} end
if tonumber(facts[2]) < tonumber(ARGV[2]) then return {'BACK', facts[2]} end

-- Lua prints large numbers with an exponent; Redis wants digits.
local function int(number) return string.format('%.0f', number) end

-- A text behind its length, so that no text can be taken for another's beginning.
local function part(text) return string.format('%08x', #text) .. text end

-- The kind of a record (behind its length) and its id.
local function kind_and_id(field)
  local edge = 8 + tonumber(field:sub(1, 8), 16)
  return field:sub(1, edge), field:sub(edge + 1)
end
