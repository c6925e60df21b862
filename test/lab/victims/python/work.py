# work: threads that compute on microseconds and sleep off; procs= processes; with
# spawn=1 each round is a new process of Python.
import os, subprocess, sys, time
from app import number, run, spin


def work(_):
    while True:
        if number("spawn", 0):
            subprocess.run([sys.executable, "-S", "-c", "x=0\nfor i in range(30000): x+=i"], check=True)
        else:
            spin(number("on", 10000))
        if number("off", 0):
            time.sleep(number("off", 0) / 1e6)


for _ in range(number("procs", 1) - 1):
    if os.fork() == 0:
        break
run(work)
