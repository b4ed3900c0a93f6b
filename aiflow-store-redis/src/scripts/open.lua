-- Finds the store, or founds it where nothing is. ARGV: format of this release, id for a new store.
local facts = redis.call('HMGET', DATA, 'format', 'store', 'last', 'sequence')
if facts[1] then return {'OK', facts[1], facts[2] or '', facts[3] or '', facts[4] or ''} end
if redis.call('EXISTS', unpack(KEYS)) > 0 then return {'FOREIGN'} end
redis.call('HSET', DATA, 'format', ARGV[1], 'store', ARGV[2], 'last', 0, 'trimmed', 0, 'recorded', 0, 'sequence', 0,
  'newest', '-9007199254740992', 'lag', 0)
return {'OK', ARGV[1], ARGV[2], '0', '0'}
