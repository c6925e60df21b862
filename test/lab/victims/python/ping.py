# ping: threads that set and get a key of a Redis on host=.
import socket, time
from app import args, number, run


def work(i):
    c = socket.create_connection((args["host"], 6379))
    while True:
        c.sendall(b"SET k%d 1\r\nGET k%d\r\n" % (i, i))
        got = b""
        while got.count(b"\r\n") < 3:
            got += c.recv(4096)
        time.sleep(number("off", 0) / 1e6)


run(work)
