-- For Redis in `make bench`: the same compare-and-update as the other peers make, in one script.
-- KEYS[1]: the job; ARGV[1]: the loss.  Returns step, lr.
local job = redis.call('HMGET', KEYS[1], 'step', 'bad', 'best', 'lr')
local loss = tonumber(ARGV[1])
local step, bad = (tonumber(job[1]) or 0) + 1, tonumber(job[2]) or 0
local best, lr = tonumber(job[3]), tonumber(job[4]) or 0.1
if not best or loss < best then best, bad = loss, 0 else bad = bad + 1 end
if bad > 10 then lr, bad = lr * 0.9, 0 end
redis.call('HSET', KEYS[1], 'step', step, 'bad', bad, 'best', string.format('%.17g', best), 'lr',
           string.format('%.17g', lr))
return {step, string.format('%.17g', lr)}
