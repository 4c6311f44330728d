-- For wrk: sends the bodies of a file in turn (BODIES, one a line) until REQUESTS are answered; prints one line of JSON.
-- wrk itself ends after a time, in the middle of a batch; here the clock stops at the last answer that is waited for.
local ffi = require("ffi")
ffi.cdef[[
  typedef struct { long seconds; long microseconds; } time_of_day;
  int gettimeofday(time_of_day *now, void *zone);
  int kill(int process, int signal);
  int getpid(void);
]]
local INTERRUPT = 2
local load

local function now()
  local found = ffi.new("time_of_day")
  ffi.C.gettimeofday(found, nil)
  return tonumber(found.seconds) + tonumber(found.microseconds) / 1e6
end

function setup(thread)
  load = thread
end

function init(args)
  bodies, sent, answered, seconds, bad = {}, 0, 0, -1, 0
  for line in io.lines(os.getenv("BODIES")) do bodies[#bodies + 1] = line end
  wanted = tonumber(os.getenv("REQUESTS"))
  wrk.headers["Content-Type"] = "application/json"
end

function request()
  if sent == 0 then begun = now() end
  sent = sent + 1
  return wrk.format("POST", nil, nil, bodies[(sent - 1) % #bodies + 1])
end

function response(status)
  answered = answered + 1
  if status ~= 200 then bad = bad + 1 end
  if answered == wanted then
    seconds = now() - begun
    ffi.C.kill(ffi.C.getpid(), INTERRUPT)
  end
end

function done(summary, latency)
  local errors = summary.errors
  local lost = errors.connect + errors.read + errors.write + errors.timeout + load:get("bad")
  print(string.format(
    '{"seconds": %.6f, "p50": %.3f, "p99": %.3f, "failed": %d}',
    load:get("seconds"), latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, lost))
end
