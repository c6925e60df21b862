# guard: threads that hold one threading.Lock for hold microseconds at a time.
import threading, time
from app import lost, number, run

lock = threading.Lock()


def work(_):
    while True:
        t = time.monotonic()
        with lock:
            lost(time.monotonic() - t)
            time.sleep(number("hold", 5000) / 1e6)
        time.sleep(number("off", 0) / 1e6)


run(work)
