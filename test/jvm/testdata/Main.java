// SPDX-License-Identifier: Apache-2.0

import java.util.ArrayDeque;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.Lock;
import java.util.concurrent.locks.ReentrantLock;
import java.util.concurrent.locks.ReentrantReadWriteLock;

/**
 * Work with known pauses: java Main MODE THREADS KILOBYTES, which prints "ready"
 * and runs until it is killed.
 *
 * garbage: each thread makes garbage without a rest and keeps KILOBYTES of small
 * objects alive, which every collection has to walk through.
 *
 * lock: the threads wait for each other's lock, and make no garbage.
 *
 * monitor, reentrant, fair, write: the threads wait for one lock of that kind, which
 * is held for 5 ms, asleep. stuck: the first has a monitor and keeps it.
 *
 * queue, futures, handover: the threads hand work to each other in a circle, by queues,
 * by futures and by a queue without room; notify and condition, by what waits inside
 * of a lock. Nobody waits for a lock for long.
 *
 * compute: the threads compute, and make no garbage.
 *
 * idle: the threads sleep.
 */
public class Main {
    static volatile long sink;
    static final ReentrantLock lock = new ReentrantLock();

    public static void main(String[] args) {
        int kilobytes = Integer.parseInt(args[2]);
        Runnable work;
        switch (args[0]) {
            case "garbage": work = () -> garbage(kilobytes); break;
            case "lock": work = Main::contend; break;
            case "monitor": work = () -> enter(5); break;
            case "stuck": work = () -> enter(Integer.MAX_VALUE); break;
            case "reentrant": work = () -> hold(lock); break;
            case "fair": work = () -> hold(fair); break;
            case "write": work = () -> hold(write); break;
            case "queue":
            case "futures":
            case "handover":
            case "notify":
            case "condition":
                circle(args[0], Integer.parseInt(args[1]));
                return;
            case "compute": work = Main::compute; break;
            default: work = Main::idle;
        }
        for (int i = 0; i < Integer.parseInt(args[1]); i++) {
            new Thread(work, "worker-" + i).start();
        }
    }

    static void ready() {
        System.out.println("ready");
    }

    static void garbage(int kilobytes) {
        ArrayDeque<Object[]> alive = new ArrayDeque<>();
        while (alive.size() < kilobytes * 16) { // 64 bytes each
            alive.add(new Object[] {alive.peekLast(), null, null, null, null, null, null, null, null, null, null, null});
        }
        ready();
        while (true) {
            Object[] last = alive.removeFirst();
            last[0] = null; // no chain from the first to the last
            alive.add(new Object[] {alive.peekLast(), null, null, null, null, null, null, null, null, null, null, null});
        }
    }

    static void contend() {
        ready();
        while (true) {
            lock.lock();
            try {
                spin(2);
            } finally {
                lock.unlock();
            }
        }
    }

    static final ReentrantLock fair = new ReentrantLock(true);
    static final Lock write = new ReentrantReadWriteLock().writeLock();
    static final Object monitor = new Object();

    static void enter(int ms) {
        ready();
        while (true) {
            synchronized (monitor) {
                sleep(ms);
            }
        }
    }

    static void hold(Lock l) {
        ready();
        while (true) {
            l.lock();
            try {
                sleep(5);
            } finally {
                l.unlock();
            }
        }
    }

    interface Link {
        void give() throws Exception;

        void take() throws Exception;
    }

    static Link link(String kind) {
        switch (kind) {
            case "queue": {
                LinkedBlockingQueue<Integer> q = new LinkedBlockingQueue<>();
                return of(() -> q.put(1), q::take);
            }
            case "handover": {
                SynchronousQueue<Integer> q = new SynchronousQueue<>();
                return of(() -> q.put(1), q::take);
            }
            case "futures": {
                LinkedBlockingQueue<CompletableFuture<Integer>> next = new LinkedBlockingQueue<>();
                CompletableFuture<Integer>[] now = new CompletableFuture[] {new CompletableFuture<>()};
                next.add(now[0]);
                return of(() -> next.take().complete(1), () -> {
                    now[0].get();
                    now[0] = new CompletableFuture<>();
                    next.add(now[0]);
                });
            }
            case "notify": {
                int[] work = {0};
                return of(() -> {
                    synchronized (work) {
                        work[0]++;
                        work.notifyAll();
                    }
                }, () -> {
                    synchronized (work) {
                        while (work[0] == 0) {
                            work.wait();
                        }
                        work[0]--;
                    }
                });
            }
            default: {
                int[] work = {0};
                ReentrantLock l = new ReentrantLock();
                Condition some = l.newCondition();
                return of(() -> {
                    l.lock();
                    work[0]++;
                    some.signal();
                    l.unlock();
                }, () -> {
                    l.lock();
                    while (work[0] == 0) {
                        some.await();
                    }
                    work[0]--;
                    l.unlock();
                });
            }
        }
    }

    interface Step {
        void run() throws Exception;
    }

    static Link of(Step give, Step take) {
        return new Link() {
            public void give() throws Exception {
                give.run();
            }

            public void take() throws Exception {
                take.run();
            }
        };
    }

    /** One piece of work goes around, and each that has it works 5 ms: as threads that share a lock do. */
    static void circle(String kind, int threads) {
        Link[] links = new Link[threads];
        for (int i = 0; i < threads; i++) {
            links[i] = link(kind);
        }
        for (int i = 0; i < threads; i++) {
            Link mine = links[i];
            Link next = links[(i + 1) % threads];
            boolean first = i == 0;
            new Thread(() -> {
                ready();
                try {
                    if (first) {
                        next.give();
                    }
                    while (true) {
                        mine.take();
                        sleep(5);
                        next.give();
                    }
                } catch (Exception e) {
                    e.printStackTrace();
                    System.exit(1);
                }
            }, "worker-" + i).start();
        }
    }

    static void sleep(int ms) {
        try {
            Thread.sleep(ms);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    static void compute() {
        ready();
        while (true) {
            spin(1000);
        }
    }

    static void idle() {
        ready();
        try {
            Thread.sleep(Long.MAX_VALUE);
        } catch (InterruptedException e) {
            return;
        }
    }

    /** Takes CPU for some milliseconds. */
    static void spin(int millis) {
        long end = System.nanoTime() + millis * 1_000_000L, x = sink;
        while (System.nanoTime() < end) {
            x = x * 31 + 7;
        }
        sink = x;
    }
}
