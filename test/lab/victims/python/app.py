# Shared by the victims in Python: KEY=VALUE arguments and the meter (see app.h).
import mmap, os, struct, sys, threading, time

args = dict(a.split("=", 1) for a in sys.argv[1:] if "=" in a)
_lock = threading.Lock()
_map = None
if os.environ.get("METER"):
    fd = os.open(os.environ["METER"], os.O_RDWR | os.O_CREAT, 0o666)
    os.ftruncate(fd, 8)
    _map = mmap.mmap(fd, 8)


def number(key, otherwise):
    return int(args.get(key, otherwise))


def lost(seconds):
    if _map is not None:
        with _lock:
            _map[:8] = struct.pack("=q", struct.unpack("=q", _map[:8])[0] + int(seconds * 1e6))


def spin(us):
    x, end = 1, time.thread_time() + us / 1e6
    while time.thread_time() < end:
        for _ in range(200):
            x = x * 1103515245 + 12345 & 0xFFFFFFFF


def run(f):
    for i in range(number("threads", 1)):
        threading.Thread(target=f, args=(i,), daemon=True).start()
    os.write(1, b"ready\n")  # in one piece: processes may share the pipe
    while True:
        time.sleep(3600)
