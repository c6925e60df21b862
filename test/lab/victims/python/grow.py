# grow: a parent whose child takes mb megabytes and is started again when it is gone.
import os, time
from app import lost, number

print("ready", flush=True)
while True:
    pid = os.fork()
    if pid == 0:
        kept = []
        for _ in range(number("mb", 100)):
            kept.append(bytearray(os.urandom(1024)) * 1024)
            time.sleep(0.002)
        os._exit(0)
    if os.WIFSIGNALED(os.waitpid(pid, 0)[1]):
        lost(1e-6)
    time.sleep(number("gap", 300000) / 1e6)
