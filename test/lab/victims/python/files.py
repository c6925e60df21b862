# files: threads that read file= in random order through the page cache.
import os, random, time
from app import args, number, run


def work(_):
    fd = os.open(args["file"], os.O_RDONLY)
    size = os.fstat(fd).st_size
    while True:
        os.pread(fd, 262144, random.randrange(size // 262144) * 262144)
        time.sleep(number("off", 0) / 1e6)


run(work)
