-- Removes the oldest events, some at a time: an offset is dense, so the next ones are known without a look.
local STEP = 500
local trimmed = tonumber(facts[3])
local through = math.min(tonumber(ARGV[3]), tonumber(facts[2]))
if through <= trimmed then return {'OK', facts[2], 0} end
local upto = math.min(through, trimmed + STEP)
local ids = {}
for _, entry in ipairs(redis.call('XRANGE', LOG, '-', int(upto))) do
  ids[#ids + 1] = entry[2][2]
end
if #ids > 0 then redis.call('HDEL', ID, unpack(ids)) end
redis.call('XTRIM', LOG, 'MINID', int(upto + 1))
redis.call('HSET', META, 'trimmed', int(upto))
return {'OK', facts[2], upto < through and 1 or 0}
