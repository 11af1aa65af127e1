-- The script that every run of wrk uses.
--
-- It prints the figures of the run as one line of JSON, and, when it is given an argument, makes one
-- header of the requests unique. The argument is the text that the headers contain in that place; the
-- digits that replace it have the same length, so the size of a request does not change.
--
--   wrk -s wrk.lua [-H 'X-Request-Id: MARKER'] URL [-- MARKER]
--
-- Without the argument no request function is defined and wrk sends one prepared request from C.

local COUNTER_DIGITS = 12

function init(args)
   local marker = args[1]
   if not marker then
      return
   end
   local text = wrk.format()
   local first, last = text:find(marker, 1, true)
   -- A run's ids start elsewhere than the last run's, and count up.
   local run = string.format("%08x", os.time() % 2 ^ 32)
   local filler = string.rep("0", #marker - #run - COUNTER_DIGITS)
   local before = text:sub(1, first - 1) .. run .. filler
   local after = text:sub(last + 1)
   local count = 0

   function request()
      count = count + 1
      return before .. string.format("%0" .. COUNTER_DIGITS .. "x", count) .. after
   end
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      '\n{"requests": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, "connect": %d, '
         .. '"read": %d, "write": %d, "status": %d, "timeout": %d}\n',
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
      errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
