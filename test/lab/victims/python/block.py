# block: threads that append a line to a file of their own below dir= and fsync it.
import os, time
from app import args, lost, number, run, spin


def work(i):
    f = open(f"{args['dir']}/log-{i}", "wb", buffering=0)
    while True:
        spin(number("on", 0))
        t = time.monotonic()
        if f.tell() > 1 << 20:
            f.seek(0)
        f.write(b"x" * 4096)
        os.fsync(f.fileno())
        lost(time.monotonic() - t)
        time.sleep(number("off", 0) / 1e6)


run(work)
