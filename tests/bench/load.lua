-- The script of wrk in `make bench`: requests made ahead, so that asking costs the same whoever answers.
-- Arguments after --: what (report, lr, etcd), number of jobs.
local requests, n, at = {}, 0, 0

local function base64(text)
    local set = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
    return (text:gsub('..?.?', function(c)
        local a, b, d = c:byte(1, 3)
        local bits = a * 65536 + (b or 0) * 256 + (d or 0)
        local out = ''
        for i = 3, 0, -1 do
            local six = math.floor(bits / 64 ^ i) % 64
            out = out .. set:sub(six + 1, six + 1)
        end
        return out:sub(1, #c + 1) .. ('='):rep(3 - #c)
    end))
end

function init(args)
    local what, jobs = args[1], tonumber(args[2])
    n = what == 'report' and 8 * jobs or jobs
    for i = 1, n do
        local job, loss = string.format('bench-%06d', i % jobs), string.format('%.6f', 1 + (i * 7919 % 10007) / 5003)
        if what == 'lr' then
            requests[i] = wrk.format('GET', '/v1/jobs/' .. job .. '/lr')
        elseif what == 'etcd' then
            requests[i] = wrk.format('POST', '/v3/kv/put', {['Content-Type'] = 'application/json'},
                string.format('{"key":"%s","value":"%s"}', base64(job), base64(string.format('{"loss":%s,"lr":0.1,"num_bad":3}', loss))))
        else
            requests[i] = wrk.format('POST', '/v1/jobs/' .. job .. ':report', {['Content-Type'] = 'application/json'},
                string.format('{"loss":%s}', loss))
        end
    end
end

function request()
    at = at % n + 1
    return requests[at]
end

function done(summary, latency, _)
    local e = summary.errors
    io.write(string.format('{"answers":%d,"seconds":%.6f,"p50_us":%.1f,"p99_us":%.1f,"refused":%d,"broken":%d}\n',
        summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99), e.status,
        e.connect + e.read + e.write + e.timeout))
end
