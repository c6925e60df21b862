# pool: a ThreadPoolExecutor whose threads wait for work; a job of on
# microseconds comes every gap.
import time
from concurrent.futures import ThreadPoolExecutor
from app import number, spin

n = number("threads", 8)
pool = ThreadPoolExecutor(n)
for f in [pool.submit(time.sleep, 0.05) for _ in range(n)]:
    f.result()
print("ready", flush=True)
while True:
    time.sleep(number("gap", 3600000000) / 1e6)
    pool.submit(spin, number("on", 1000))
