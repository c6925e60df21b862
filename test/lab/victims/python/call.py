# call: threads that do requests as the victim call does.

import socket, struct, time
from app import args, lost, number, run


def work(_):
    c = socket.create_connection((args.get("host", "127.0.0.1"), number("port", 7000)))
    c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    ask, answer = number("ask", 100), number("answer", 100)
    request = struct.pack("!II", ask, answer) + bytes(ask - 8)
    while True:
        t = time.monotonic()
        c.sendall(request)
        n = 0
        while n < answer:
            got = len(c.recv(65536))
            if not got:
                raise SystemExit("the peer closed the connection")
            n += got
        lost(time.monotonic() - t)
        time.sleep(number("off", 0) / 1e6)


run(work)
