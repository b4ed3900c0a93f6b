-- Takes, renews or gives up a lease. Kept as `epoch until released holder`, also when it has run out, so that epochs never repeat.
local verb, name, holder, number = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local field = 'lease:' .. name
local held = redis.call('HGET', DATA, field)
local epoch, ends, released, by
if held then epoch, ends, released, by = held:match('^(%d+) (%d+) (%d) (.*)$') end

if verb == 'release' then
  if held and epoch == number and by == holder then
    redis.call('HSET', DATA, field, epoch .. ' ' .. ends .. ' 1 ' .. by)
  end
  return {'OK', facts[2]}
end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local granted
if not held then
  granted = 1
elseif by == holder and released == '0' then
  granted = tonumber(epoch)
elseif released == '1' or tonumber(ends) <= now then
  granted = tonumber(epoch) + 1
else
  return {'OK', facts[2], 0}
end
redis.call('HSET', DATA, field, int(granted) .. ' ' .. int(now + tonumber(number)) .. ' 0 ' .. holder)
return {'OK', facts[2], granted}
