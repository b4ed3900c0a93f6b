-- What every script knows. KEYS: the keys of the layout.
local DATA, INDEX, RELATION, LOG = unpack(KEYS)

-- Lua prints large numbers with an exponent; Redis wants digits.
local function int(number) return string.format('%.0f', number) end

-- Places of records lie in blocks of this many. What a list has of a block is one entry of the index: the list, the first place of the block,
-- and for each record its place in the block (one byte), the length of its id (four bytes) and its id, in the order of places.
local BLOCK = 64

local function block_of(place) return place - place % BLOCK end

-- The place in the block of the record that begins at `from`, and the last byte of it; its id begins five bytes behind `from`.
local function piece_at(pieces, from)
  local slot, length = struct.unpack('>BI4', pieces, from)
  return slot, from + 4 + length
end
