-- Before the scripts that look up little else: is this the store that the caller opened, and has it not gone back?
-- ARGV: id of the store, newest offset that the caller knows of, what the script is asked.
local facts = redis.call('HMGET', DATA, 'store', 'last', 'trimmed')
if facts[1] ~= ARGV[1] then return {'GONE'} end
if tonumber(facts[2]) < tonumber(ARGV[2]) then return {'BACK', facts[2]} end
