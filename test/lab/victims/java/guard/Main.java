import java.util.concurrent.locks.ReentrantLock;

/** Threads that hold one monitor (or with kind=r one ReentrantLock) for hold microseconds, asleep. */
final class Main {
    public static void main(String[] argv) throws Exception {
        App.begin(argv);
        Object monitor = new Object();
        ReentrantLock lock = new ReentrantLock();
        boolean reentrant = "r".equals(App.args.get("kind"));
        App.run(i -> {
            while (true) {
                long t = System.nanoTime();
                if (reentrant) {
                    lock.lock();
                    try {
                        App.lost(System.nanoTime() - t);
                        App.nap(App.number("hold", 5000));
                    } finally {
                        lock.unlock();
                    }
                } else {
                    synchronized (monitor) {
                        App.lost(System.nanoTime() - t);
                        App.nap(App.number("hold", 5000));
                    }
                }
                App.nap(App.number("off", 0));
            }
        });
    }
}
